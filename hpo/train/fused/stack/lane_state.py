"""Lane state: what is known of a lane on the host, and its state as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.engine import EpochReport, Failure, Lane
from hpo.train.epoch_scores import Score, is_spent
from hpo.train.fused.kernels.flat_params import ParamLayout, fixed_tensors
from hpo.train.fused.kernels.stacked_optimizers import RULES
from hpo.train.loop.checkpoint import (
    BestWeights,
    Checkpoint,
    CheckpointError,
    Last,
    plain,
    resume,
    to_cpu,
)
from hpo.train.recipe.counter_based_dropout import LaneDropout
from hpo.train.recipe.schedules import factor

FIXED: Final = "fixed:"
BEST: Final = "best:"
_WITHOUT_STEP: Final = ("sgd", "momentum", "nesterov")
WEIGHTS: Final = "weights"
AVERAGE: Final = "average:"


@dataclass
class LaneState:
    """One trial in a stack.

    Attributes:
        lane: As it was added.
        params: With defaults filled in.
        horizon: Epochs that the schedule spans.
        dropping: Prefixes of the names of dropout layers with a rate above 0.
        epoch: Epochs completed.
        best_epoch: Epochs completed when it was best; 0 before there is a best.
        best_metrics: What that epoch reported.
        last: The latest epoch; None before the first.
        is_failed: It reports nothing further.
        row: Its row in the stack; None while it is parked.
        suspended: Its state while it has no row.
    """

    lane: Lane
    params: Params
    horizon: int
    dropping: frozenset[str]
    epoch: int = 0
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    last: Last | None = None
    is_failed: bool = False
    row: int | None = None
    suspended: dict[str, Tensor] | None = None

    @property
    def is_through(self) -> bool:
        """Whether there is nothing left to train."""
        is_over = self.epoch >= self.lane.epoch_stop or self.is_spent
        return is_over and self.last is not None

    @property
    def is_spent(self) -> bool:
        """Whether its patience is over."""
        return is_spent(self.params, self.epoch, self.best_epoch)

    @property
    def learning_rate(self) -> float:
        """Of the epoch to come."""
        rate = float(self.params["learning_rate"])
        return rate * factor(self.epoch, self.horizon, self.params)

    def close(
        self,
        metrics: dict[str, float],
        failure: Failure | None,
        seconds: float,
        n: int,
        score: Score,
    ) -> EpochReport:
        """Notes what an epoch came to.

        Args:
            metrics: What it reports.
            failure: Set when it cannot continue.
            seconds: Of the whole stack.
            n: Training samples.
            score: What trials are compared by.
        """
        last = Last(metrics, self.learning_rate, seconds, n / seconds)
        self.epoch += 1
        if failure is None:
            self.last = last
            if score.is_better(metrics, self.best_metrics):
                self.best_epoch, self.best_metrics = self.epoch, metrics
        self.is_failed = failure is not None
        is_over = failure is None and self.is_spent
        key = self.lane.key
        return EpochReport(key, self.epoch, **asdict(last), failure=failure, is_spent=is_over)


def dropping_of(model: nn.Module) -> frozenset[str]:
    """Returns the prefixes of a lifted model's dropout layers whose rate is above 0."""
    return frozenset(
        f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, LaneDropout) and module.p > 0
    )


def begin_or_resume(
    lane: Lane, params: Params, model: nn.Module, layout: ParamLayout
) -> tuple[LaneState, dict[str, Tensor]]:
    """Returns a lane and its tensors: from its checkpoint, or else from its initial weights.

    Args:
        lane: The lane.
        params: With defaults filled in.
        model: Lifted, with its initial weights.
        layout: Of the stack.
    """
    fresh = LaneState(lane, params, lane.horizon or lane.epoch_stop, dropping_of(model))
    tensors = fresh_state(model, layout)

    def load(saved: Checkpoint) -> tuple[LaneState, dict[str, Tensor]]:
        found = load_state(layout, saved, params)
        lane_state = replace(
            fresh,
            horizon=saved.horizon,
            epoch=saved.epoch,
            best_epoch=saved.best.epoch,
            best_metrics=saved.best.metrics,
            last=saved.last,
        )
        return lane_state, {**tensors, **found}

    return resume(lane, load) or (fresh, tensors)


def row_shapes(
    layout: ParamLayout, optimizer: str, *, averages: bool
) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Returns shape and type of everything that a lane's row holds."""
    flat = (torch.Size([layout.size]), torch.float32)
    shapes = {WEIGHTS: flat, **dict.fromkeys(RULES[optimizer].state, flat)}
    shapes["step"] = (torch.Size([]), torch.float32)
    shapes |= {FIXED + name: found for name, found in layout.fixed.items()}
    copies = (BEST, AVERAGE) if averages else (BEST,)
    return shapes | {copy + name: shapes[name] for copy in copies for name in best_names(layout)}


def best_names(layout: ParamLayout) -> list[str]:
    """Returns the names of what is kept of the best epoch: a model's tensors."""
    return [WEIGHTS, *(FIXED + name for name in layout.fixed)]


def fresh_state(model: nn.Module, layout: ParamLayout) -> dict[str, Tensor]:
    """Returns the row of a lane that begins with a model's values."""
    fixed = {FIXED + name: tensor for name, tensor in fixed_tensors(model).items()}
    return {WEIGHTS: layout.flatten(dict(model.named_parameters())), **fixed}


def model_state(
    row: Mapping[str, Tensor], layout: ParamLayout, names: list[str], prefix: str = ""
) -> dict[str, Tensor]:
    """Returns the state dict of a lane's model, on the CPU.

    Args:
        row: Its tensors.
        layout: Of its stack.
        names: Keys of the state dict, in their order.
        prefix: ``BEST`` for the weights of the best epoch, ``AVERAGE`` for the average ones.
    """
    found: dict[str, Tensor] = layout.unflatten(row[prefix + WEIGHTS].cpu())
    own = {name: layout.names[name] for name in names}
    # Not every buffer is part of a state dict, nor of the row of a checkpoint.
    found |= {name: row[prefix + FIXED + name] for name in set(own.values()) - set(found)}
    return {name: to_cpu(found[own[name]]) for name in names}


def checkpoint_of(
    lane_state: LaneState, state: Mapping[str, Tensor], layout: ParamLayout, names: list[str]
) -> Checkpoint:
    """Returns all that is needed to resume a lane, in any engine.

    Args:
        lane_state: The lane.
        state: Its tensors.
        layout: Of its stack.
        names: Keys of its model's state dict, in their order.
    """
    weights = model_state(state, layout, names, BEST) if lane_state.best_epoch else {}
    has_average = lane_state.epoch and AVERAGE + WEIGHTS in state
    last = lane_state.last
    rate = last.learning_rate if last else float(lane_state.params["learning_rate"])
    return Checkpoint(
        seed=lane_state.lane.seed,
        params=plain(lane_state.lane.params.asdict()),
        epoch=lane_state.epoch,
        horizon=lane_state.horizon,
        model=model_state(state, layout, names),
        optimizer=optimizer_state(state, layout, lane_state, rate),
        best=BestWeights(lane_state.best_epoch, lane_state.best_metrics, weights),
        last=last,
        average=model_state(state, layout, names, AVERAGE) if has_average else {},
    )


def optimizer_state(
    row: Mapping[str, Tensor], layout: ParamLayout, lane_state: LaneState, learning_rate: float
) -> dict[str, Any]:
    """Returns torch.optim's ``state_dict`` of a lane, without the settings that never change.

    Args:
        row: Its tensors.
        layout: Of its stack.
        lane_state: The lane.
        learning_rate: Of its latest epoch.
    """
    # The other settings are in the params: who loads this has an optimizer that knows them. Making
    # one here would load PyTorch's compiler, which takes two seconds.
    group = {"lr": learning_rate, "params": list(range(len(layout.slots)))}
    state: dict[str, Any] = {"state": {}, "param_groups": [group]}
    optimizer = lane_state.params["optimizer"]
    if not lane_state.epoch and optimizer != "adagrad":
        return state
    kept = {name: layout.unflatten(row[name].cpu()) for name in _kept(lane_state.params)}
    for i, slot in enumerate(layout.slots):
        own: dict[str, Any] = {name: values[slot.name] for name, values in kept.items()}
        if optimizer not in _WITHOUT_STEP:
            own["step"] = row["step"].cpu().clone()
        if own:
            state["state"][i] = own
    return state


def load_state(layout: ParamLayout, saved: Checkpoint, params: Params) -> dict[str, Tensor]:
    """Returns the row of a checkpoint.

    Raises:
        CheckpointError: It is of another model or optimizer.
    """
    try:
        row = _model_row(layout, saved.model, "")
        if saved.best.weights:
            row |= _model_row(layout, saved.best.weights, BEST)
        if saved.average:
            row |= _model_row(layout, saved.average, AVERAGE)
        states = [saved.optimizer["state"].get(i, {}) for i in range(len(layout.slots))]
        for name in _kept(params):
            if all(state.get(name) is not None for state in states):
                named = {s.name: state[name] for s, state in zip(layout.slots, states, strict=True)}
                row[name] = layout.flatten(_shaped(layout, named))
        if states[0].get("step") is not None:
            row["step"] = torch.as_tensor(states[0]["step"], dtype=torch.float32)
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint does not fit the task: {error}") from error
    return row


def _model_row(layout: ParamLayout, state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    row = {prefix + WEIGHTS: layout.flatten(_shaped(layout, state))}
    for name, (shape, _) in layout.fixed.items():
        # Not every buffer is part of a state dict.
        if name in state:
            if state[name].shape != shape:
                raise ValueError(f"{name} is of another shape")
            row[prefix + FIXED + name] = state[name]
    unknown = set(state) - set(layout.names)
    if unknown:
        raise ValueError(f"{min(unknown)} is unknown")
    return row


def _shaped(layout: ParamLayout, values: Mapping[str, Any]) -> Mapping[str, Any]:
    for slot in layout.slots:
        if values[slot.name].shape != slot.shape:
            raise ValueError(f"{slot.name} is of another shape")
    return values


def _kept(params: Params) -> tuple[str, ...]:
    """Returns the states that torch.optim keeps: no momentum where there is none."""
    names = RULES[params["optimizer"]].state
    if not params.get("momentum"):
        return tuple(name for name in names if name != "momentum_buffer")
    return names
