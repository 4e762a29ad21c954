"""Task preview: what training would cost and report, before the first trial."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.train.checks.parameter_usage import ParameterReport, read_parameters
from hpo.train.checks.probe_points import scattered, typical
from hpo.train.checks.task_checks import require_finite, require_sound
from hpo.train.criteria import Criterion, scope_of
from hpo.train.data.loading.loaded_splits import LoadedPart
from hpo.train.evaluation import AnyPart, evaluate
from hpo.train.fresh_models import require_independent
from hpo.train.loop.training import Training, begin, build_model, trainable
from hpo.train.recipe.hyperparameters import complete, n_per_batch
from hpo.train.recipe.random_streams import batch_bounds, sample_order, seeded
from hpo.train.task import Task
from hpo.train.user_code_guard import user_code

if TYPE_CHECKING:
    from hpo.train.data.loading.loaded_splits import AnySplits

__all__ = [
    "BatchCost",
    "ParameterReport",
    "estimate",
    "metric_names",
    "one_batch",
    "read_parameters",
    "typical",
]

_MAX_ROWS: Final = 1024
_MAX_LOADED: Final = 64
_MAX_STEPS: Final = 20
_MEASURE_S: Final = 0.2
_N_POINTS: Final = 5


@dataclass(frozen=True)
class BatchCost:
    """The cost of training at one point of a space.

    Attributes:
        n_parameters: Trainable numbers of the model.
        seconds_per_step: Of one batch.
        steps_per_epoch: Batches of one epoch.
    """

    n_parameters: int
    seconds_per_step: float
    steps_per_epoch: int


def metric_names(
    task: Task, splits: AnySplits, params: Params | None = None, wanted: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Returns the names of the metrics that an epoch reports, from an untrained model.

    Args:
        task: The task.
        splits: Its data, on the CPU.
        params: A point of the space; none where the task's defaults are enough.
        wanted: Metrics of the study, which may be others than the task names.

    Raises:
        TaskError: The task's code raises, does what it cannot mean, or the params are impossible.
    """
    device = splits.train.device
    with user_code(f"the task {type(task).__name__}"), seeded(0, device):
        # No optimizer: PyTorch loads its compiler, which takes a second, with the first one.
        values = complete(params or Params(), task.defaults, scope_of(task, splits))
        model = build_model(task, values).to(device)
        require_sound(task, model, splits, values)
        require_independent(task, model, values)
        criterion = Criterion.of(task, splits, wanted)
        measured = evaluate(criterion, values, model, head(splits.val), "val")
        require_finite(measured["val_loss"])
    return ("train_loss", *measured)


def one_batch(task: Task, splits: AnySplits, params: Params) -> BatchCost:
    """Builds a model and trains it for a few steps, to see that it works and what it costs.

    Args:
        task: The task.
        splits: Its data, on the device to be measured.
        params: A point of the space.

    Raises:
        TaskError: The task's code raises, or the params are impossible.
    """
    device, n = splits.train.device, len(splits.train)
    with user_code(f"the task {type(task).__name__}"), seeded(0, device):
        training = begin(task, splits, params, 0, 1, device)
        seconds = _seconds_per_step(training, splits.train)
    bounds = batch_bounds(n, n_per_batch(training.params["batch_size"], n))
    n_parameters = sum(parameter.numel() for parameter in trainable(training.model))
    return BatchCost(n_parameters, seconds, len(bounds))


def estimate(task: Task, splits: AnySplits, space: SearchSpace) -> float:
    """Returns about how many seconds an epoch takes, as a mean over the space.

    Args:
        task: The task.
        splits: Its data, on the device to be measured.
        space: The study's space; points at which the task raises do not count.

    Raises:
        TaskError: The task's code raises in the middle of the space.
    """
    costs = [one_batch(task, splits, typical(space))]
    for point in scattered(space, _N_POINTS):
        with contextlib.suppress(TaskError):
            costs.append(one_batch(task, splits, Params(point)))
    # A forward pass is about a third of a step, and rows are rows.
    share = 1 + len(splits.val) / len(splits.train) / 3
    return share * statistics.fmean(cost.seconds_per_step * cost.steps_per_epoch for cost in costs)


def head(part: AnyPart) -> AnyPart:
    """Returns as many of the first samples of a part as show what a model reports."""
    if isinstance(part, LoadedPart):
        return part.first(_MAX_LOADED)
    return dataclasses.replace(part, x=part.x[:_MAX_ROWS], y=part.y[:_MAX_ROWS])


def _seconds_per_step(training: Training, part: AnyPart) -> float:
    batch = n_per_batch(training.params["batch_size"], len(part))
    training.model.train()
    if isinstance(part, LoadedPart):
        return _seconds_per_loaded_step(training, part, batch)
    rows = sample_order(len(part), 0, 0)[:batch].to(part.y.device)
    x, y = part.x[rows], part.y[rows]
    # The first steps allocate memory and choose kernels.
    training.step(x, y)
    float(training.step(x, y))
    n_steps, began_at = 0, time.perf_counter()
    while n_steps < _MAX_STEPS and time.perf_counter() - began_at < _MEASURE_S:
        loss = training.step(x, y)
        n_steps += 1
        # Fetching the loss waits for the device.
        float(loss)
    return (time.perf_counter() - began_at) / n_steps


def _seconds_per_loaded_step(training: Training, part: LoadedPart, batch: int) -> float:
    """Returns the seconds of a step together with reading its batch."""
    bounds = batch_bounds(len(part), batch)[: _MAX_STEPS + 1]
    n_steps, began_at = 0, time.perf_counter()
    for one in training.batches(part, bounds):
        float(training.step(one.inputs, one.targets))
        if not n_steps and len(bounds) > 1:
            # The first batch starts the processes.
            began_at = time.perf_counter()
        n_steps += 1
        if n_steps > 1 and time.perf_counter() - began_at > _MEASURE_S:
            break
    return (time.perf_counter() - began_at) / max(1, n_steps - 1)
