"""The training of one trial, epoch by epoch: plain PyTorch, and the reference for every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hpo.errors import TaskError
from hpo.spec.params import Params
from hpo.train import optimizers
from hpo.train.checkpoint import CheckpointError
from hpo.train.hyperparameters import check, complete, n_per_batch
from hpo.train.losses import default_loss
from hpo.train.noise import Noise, lift, step_keys
from hpo.train.precision import cast, full
from hpo.train.schedules import factor
from hpo.train.seeds import batch_bounds, derive, sample_order, seeded
from hpo.train.task import Task

if TYPE_CHECKING:
    from hpo.train.data import Part, Splits

# How an optimizer computes depends on the device at hand, not on the one of a checkpoint.
_KERNEL_FLAGS = ("fused", "foreach", "capturable")


@dataclass
class Training:
    """A model on its way.

    Attributes:
        params: With a value for every standard hyperparameter that applies.
        seed: The trial's.
        horizon: Epochs that the schedule spans.
        model: In training or evaluation mode, as it was last used.
        optimizer: Of the model's trainable parameters.
        loss: What is minimised, of outputs and targets of a batch.
        noise: What the model's dropout layers draw from.
        epoch: Epochs completed.
        base_rates: Learning rate of each parameter group before the schedule's factor.
    """

    params: Params
    seed: int
    horizon: int
    model: nn.Module
    optimizer: Optimizer
    loss: Callable[[Tensor, Tensor], Tensor]
    noise: Noise
    epoch: int = 0
    base_rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def learning_rate(self) -> float:
        """Of the latest epoch, in the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def train_epoch(self, part: Part) -> float:
        """Visits every sample once, in an order of this epoch's own.

        The caller seeds the generators that the model may draw from beside its dropout. The device
        is not waited for before the end.

        Args:
            part: The training samples, on the model's device.

        Returns:
            The loss that was minimised, penalties aside: the mean over all samples, each with
            the weights of its step.
        """
        self._apply_schedule()
        self.model.train()
        order = sample_order(len(part), self.seed, self.epoch)
        order = order.to(part.y.device, non_blocking=True)
        bounds = batch_bounds(len(part), n_per_batch(self.params["batch_size"], len(part)))
        keys = step_keys(derive(self.seed, "noise", self.epoch), len(bounds)).tolist()
        losses = []
        for key, (begin, end) in zip(keys, bounds, strict=True):
            rows = order[begin:end]
            self.noise.begin(key)
            losses.append(self.step(part.x[rows], part.y[rows]))
        self.epoch += 1
        # In double precision on the CPU: the mean must not lose digits over many steps.
        sizes = torch.tensor([end - begin for begin, end in bounds], dtype=torch.float64)
        return float(torch.stack(losses).cpu().double() @ sizes / len(part))

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Takes one step of the optimizer.

        Args:
            x: Inputs of shape [B, ...].
            y: Targets of shape [B, ...].

        Returns:
            The loss before the step, a scalar on the device.
        """
        params = self.params
        with cast(params["precision"], x.device):
            outputs = self.model(x)
        loss = self.loss(full(outputs), y)
        # What zero_grad does, whose own bookkeeping costs a small model a fifteenth of its time.
        for parameter in self._trained:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if params["l1"]:
            optimizers.add_l1(self._trained, params["l1"])
        if params["grad_clip"]:
            optimizers.clip_gradients(self._trained, params["grad_clip"])
        self.optimizer.step()
        return loss.detach()

    def load(self, model: dict[str, Any], optimizer: dict[str, Any], epoch: int) -> None:
        """Takes over the state of an earlier training of the same trial.

        Args:
            model: A state dict.
            optimizer: A state dict.
            epoch: Epochs completed by then.

        Raises:
            CheckpointError: They are of another model or optimizer; this training is spoilt then.
        """
        groups = zip(optimizer["param_groups"], self.optimizer.param_groups, strict=False)
        kept = [{**new, **old, **_flags(new)} for old, new in groups]
        try:
            self.model.load_state_dict(model)
            self.optimizer.load_state_dict({"state": optimizer["state"], "param_groups": kept})
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"the checkpoint does not fit the task: {reason}") from error
        self.epoch = epoch

    def _apply_schedule(self) -> None:
        scale = factor(self.epoch, self.horizon, self.params)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * scale


def _flags(group: dict[str, Any]) -> dict[str, Any]:
    return {name: group[name] for name in _KERNEL_FLAGS if name in group}


def begin(
    task: Task, splits: Splits, params: Params, seed: int, horizon: int, device: torch.device
) -> Training:
    """Builds the training of a trial, with its initial weights.

    Args:
        task: The task.
        splits: Its data.
        params: The trial's; defaults are filled in.
        seed: The trial's.
        horizon: Epochs of a full trial.
        device: Where it trains; the weights are drawn on the CPU, the same for every device.

    Raises:
        TaskError: The params are impossible, or the model is nothing to train.
        Exception: Whatever the task's code raises.
    """
    params, model, noise = draw(task, splits, params, seed, device)
    with seeded(derive(seed, "weights"), device):
        optimizer = task.optimizer(model, params)
    if optimizer is None:
        _require(check(params))
        optimizer = optimizers.build(trainable(model), params)
    loss = loss_for(task, splits, params)
    return Training(params, seed, horizon, model, optimizer, loss, noise)


def draw(
    task: Task, splits: Splits, params: Params, seed: int, device: torch.device
) -> tuple[Params, nn.Module, Noise]:
    """Builds a trial's model with its initial weights.

    Args:
        task: The task.
        splits: Its data.
        params: The trial's; defaults are filled in.
        seed: The trial's.
        device: Where it trains; the weights are drawn on the CPU, the same for every device.

    Returns:
        The params with all defaults, the model with its dropout lifted, and what that draws from.

    Raises:
        TaskError: The params are impossible, or the task returns no model.
        Exception: Whatever the task's code raises.
    """
    params = complete(params, task.defaults)
    own_optimizer = task.has_own("optimizer")
    _require(check(params, own_optimizer=own_optimizer, smoothing=smooths(task, splits)))
    with seeded(derive(seed, "weights"), device):
        model = build_model(task, params)
    noise = lift(model)
    return params, model.to(device), noise


def build_model(task: Task, params: Params) -> nn.Module:
    """Builds the task's model.

    Raises:
        TaskError: It is no module.
    """
    model: Any = task.model(params)
    if not isinstance(model, nn.Module):
        found = type(model).__name__
        raise TaskError(f"{type(task).__name__}.model must return an nn.Module; found {found}")
    return model


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters that are not frozen.

    Raises:
        TaskError: There are none.
    """
    found = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not found:
        raise TaskError("the model has no parameters to train")
    return found


def loss_for(task: Task, splits: Splits, params: Params) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns what a trial minimises: the task's own loss, or the default with its smoothing."""
    if not smooths(task, splits):
        return task.loss
    return partial(default_loss, label_smoothing=params["label_smoothing"])


def smooths(task: Task, splits: Splits) -> bool:
    """Tells whether ``label_smoothing`` means something: the loss is the default cross-entropy."""
    return splits.kind == "classification" and not task.has_own("loss")


def _require(mistakes: list[str]) -> None:
    if mistakes:
        raise TaskError("; ".join(mistakes))
