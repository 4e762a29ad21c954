"""Training of one trial, epoch by epoch: plain PyTorch, the reference for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.criteria import Criterion, named_form, require_own, scope_of, unsuitable
from hpo.train.data.batch import Batch, Tensors, as_floats
from hpo.train.data.loading.loaded_splits import LoadedPart
from hpo.train.fresh_models import require_new
from hpo.train.loop.checkpoint import CheckpointError
from hpo.train.loop.optimizer_step import OptimizerStep
from hpo.train.loop.own_augmentation import own_augmentation
from hpo.train.loop.own_optimizer import own_optimizer
from hpo.train.loop.training_step import TrainingStep
from hpo.train.recipe import optimizers
from hpo.train.recipe.augmentation import Augmentation
from hpo.train.recipe.counter_based_dropout import DropoutRng, lift, step_keys
from hpo.train.recipe.hyperparameters import check, complete, n_per_step
from hpo.train.recipe.precision import gradient_scaler
from hpo.train.recipe.random_streams import batch_bounds, derive, sample_order, seeded
from hpo.train.recipe.schedules import factor
from hpo.train.recipe.weight_averaging import averages, mix_in, shares
from hpo.train.task import Task
from hpo.train.user_code_guard import found_instead

if TYPE_CHECKING:
    from hpo.train.data.dataset import Part
    from hpo.train.data.loading.loaded_splits import AnySplits

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
        dropout_rng: What the model's dropout layers draw from.
        epoch: Epochs completed.
        average: The model's tensors by their averages, in a state dict; empty without any.
        prepare: What the model sees of the inputs of a loader, see ``Task.prepare``.
        augment: What the task makes of the inputs of a batch; None for nothing of its own.
        accept: Raises where the loss does not take several outputs.
        scaler: Of the loss in float16; None for other precisions.
        base_rates: Learning rate of each parameter group before the schedule's factor.
    """

    params: Params
    seed: int
    horizon: int
    model: nn.Module
    optimizer: Optimizer
    loss: Callable[[Any, Any], Tensor]
    dropout_rng: DropoutRng
    epoch: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)
    prepare: Callable[[Tensors], Tensors] = as_floats
    augment: Callable[[Tensors], Tensors] | None = None
    accept: Callable[[Tensors], None] = lambda outputs: None
    scaler: GradScaler | None = None
    base_rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._key = 0
        self._step = TrainingStep(
            self.params,
            self.model,
            self.loss,
            self.dropout_rng,
            OptimizerStep(self.optimizer, self.params, self.scaler),
            lambda outputs: self.accept(outputs),
        )

    @property
    def learning_rate(self) -> float:
        """Of the latest epoch, in the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def train_epoch(self, part: Part | LoadedPart) -> float:
        """Visits every sample once, in an order of this epoch's own.

        The order of samples in memory follows from the trial's seed; that of a loader from the
        study's, so that trials that train together share its batches.

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
        bounds = batch_bounds(len(part), n_per_step(self.params, len(part)))
        keys = step_keys(derive(self.seed, "noise", self.epoch), len(bounds))
        augmentation = None
        mixed = shares(self.params, self.epoch, len(bounds)) if averages(self.params) else [0.0]
        losses = []
        for i, batch in enumerate(self.batches(part, bounds)):
            if not i:
                augmentation = self._augmentation(batch.inputs, keys)
            self._key = int(keys[i])
            losses.append(self.step(batch.inputs, batch.targets, augmentation, i))
            self._mix(mixed[i % len(mixed)])
        self.epoch += 1
        # In double precision on the CPU: the mean must not lose digits over many steps.
        sizes = torch.tensor([end - begin for begin, end in bounds], dtype=torch.float64)
        return float(torch.stack(losses).cpu().double() @ sizes / len(part))

    def batches(self, part: Part | LoadedPart, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        """Returns the epoch's batches, as the model sees them.

        Args:
            part: The training samples.
            bounds: Begin and end of each batch within the epoch's order.
        """
        if isinstance(part, LoadedPart):
            places = sample_order(len(part), part.seed, self.epoch).tolist()
            for batch in part.batches((places[a:b] for a, b in bounds), self.epoch):
                yield Batch(self.prepare(batch.inputs), batch.targets, batch.n)
            return
        order = sample_order(len(part), self.seed, self.epoch).to(part.y.device, non_blocking=True)
        for begin, end in bounds:
            rows = order[begin:end]
            yield Batch(part.x[rows], part.y[rows], end - begin)

    def step(
        self, x: Tensors, y: Tensors, augmentation: Augmentation | None = None, i: int = 0
    ) -> Tensor:
        """Takes one step of the optimizer.

        Args:
            x: Inputs of shape [B, ...], or a tuple or dict of such.
            y: Targets of shape [B, ...].
            augmentation: Of the epoch.
            i: Number of the step in the epoch.

        Returns:
            The loss before the step, a scalar on the device.
        """
        if self.augment is not None:
            x = self.augment(x)
        return self._step.take(x, y, self._key, augmentation, i)

    def _augmentation(self, x: Tensors, keys: NDArray[np.int32]) -> Augmentation | None:
        if not isinstance(x, Tensor):
            return None
        column = torch.from_numpy(keys).unsqueeze(1).to(x.device)
        return Augmentation.of([self.params], [self.seed], [self.epoch], column, x)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Gives the model its average weights for a while, if it has any."""
        if not self.average:
            yield self.model
            return
        current = {name: value.clone() for name, value in self._tensors().items()}
        self.model.load_state_dict({**self.model.state_dict(), **self.average})
        try:
            yield self.model
        finally:
            self.model.load_state_dict({**self.model.state_dict(), **current})

    def _tensors(self) -> dict[str, Tensor]:
        if not averages(self.params):
            return {}
        found = self.model.state_dict()
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def _mix(self, share: float) -> None:
        if not share:
            return
        for name, tensor in self._tensors().items():
            if name not in self.average:
                self.average[name] = torch.zeros_like(tensor)
            mix_in(self.average[name], tensor, share)

    def load(
        self,
        model: dict[str, Any],
        optimizer: dict[str, Any],
        epoch: int,
        average: Mapping[str, Tensor],
        scaler: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes over the state of an earlier training of the same trial.

        Args:
            model: A state dict.
            optimizer: A state dict.
            epoch: Epochs completed by then.
            average: A state dict, or nothing.
            scaler: A state dict, or nothing.

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
        if self.scaler is not None and scaler:
            self.scaler.load_state_dict(dict(scaler))
        self.epoch = epoch
        device = self._trained[0].device
        self.average = {name: value.to(device, copy=True) for name, value in average.items()}

    def _apply_schedule(self) -> None:
        scale = factor(self.epoch, self.horizon, self.params)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * scale


def _flags(group: dict[str, Any]) -> dict[str, Any]:
    return {name: group[name] for name in _KERNEL_FLAGS if name in group}


def begin(
    task: Task, splits: AnySplits, params: Params, seed: int, horizon: int, device: torch.device
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
    params, model, dropout_rng = draw(task, splits, params, seed, device)
    with seeded(derive(seed, "weights"), device):
        optimizer = own_optimizer(task, model, params)
    if optimizer is None:
        _require(check(params, replace(scope_of(task, splits), own_optimizer=False)))
        optimizer = optimizers.build(trainable(model), params)
    balanced = params.get("class_weights") == "balanced"
    y = splits.train.y if balanced else splits.known_targets
    loss = Criterion.of(task, splits).minimised(params, y)
    scaler = gradient_scaler(params["precision"], device)
    training = Training(params, seed, horizon, model, optimizer, loss, dropout_rng, scaler=scaler)
    training.prepare = task.prepare
    training.augment = own_augmentation(task, params)
    training.accept = lambda outputs: require_own(task, f"the model returns {named_form(outputs)}")
    return training


def draw(
    task: Task, splits: AnySplits, params: Params, seed: int, device: torch.device
) -> tuple[Params, nn.Module, DropoutRng]:
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
    scope = scope_of(task, splits)
    params = complete(params, task.defaults, scope)
    _require(check(params, scope))
    if not scope.own_loss and (why := unsuitable(params, splits)):
        raise TaskError(f"loss {why}")
    with seeded(derive(seed, "weights"), device):
        model = build_model(task, params)
    dropout_rng = lift(model)
    if params.get("channels_last"):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return params, model.to(device), dropout_rng


def build_model(task: Task, params: Params) -> nn.Module:
    """Builds the task's model.

    Raises:
        TaskError: It is no module, or holds weights of a model that was built before.
    """
    model: Any = task.model(params)
    if not isinstance(model, nn.Module):
        raise TaskError(
            f"{type(task).__name__}.model must return an nn.Module; found {found_instead(model)}"
        )
    require_new(f"{type(task).__name__}.model", model)
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


def _require(mistakes: list[str]) -> None:
    if mistakes:
        raise TaskError("; ".join(mistakes))
