"""Evaluation: loss and metrics of a model on one part of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.train.criteria import Criterion, require_one
from hpo.train.data.batch import Tensors, as_floats, call, joined
from hpo.train.data.loading.loaded_splits import LoadedPart
from hpo.train.recipe.precision import cast, full

if TYPE_CHECKING:
    from hpo.train.data.splits import Part

AnyPart: TypeAlias = "Part | LoadedPart"
Prepare: TypeAlias = Callable[[Tensors], Tensors]

# Batches of a loader are evaluated by as many samples, whatever a trial's batch size.
_LOADED_ROWS: Final = 256
# Rows are evaluated in chunks of about this many input values: large enough to keep a device
# busy, small enough for the activations of an image network.
_CHUNK_VALUES: Final = 2**24
_MAX_ROWS: Final = 8192


def evaluate(
    criterion: Criterion, params: Mapping[str, Any], model: nn.Module, part: AnyPart, prefix: str
) -> dict[str, float]:
    """Measures a model in evaluation mode, without gradients.

    Args:
        criterion: Gives loss and metrics. Those of a task's own see the whole part at once; hpo's
            own accumulate over the batches of a loader.
        params: Of the trial, with defaults filled in; the forward pass has their precision.
        model: On the device of the part; left in evaluation mode.
        part: The samples, at least one.
        prefix: ``val`` or ``test``: begins the metrics' names.

    Returns:
        The loss, and the metrics unless the loss is not finite.

    Raises:
        TaskError: A metric is no single number.
    """
    if not isinstance(part, LoadedPart):
        return measure(criterion, params, outputs_of(model, part, params), part, prefix)
    model.eval()
    with torch.inference_mode():
        batches = _with_outputs(model, part, params, criterion.task.prepare)
        if criterion.accumulates:
            return _accumulated(criterion, params, batches, prefix)
        outputs, targets = (joined(chunks) for chunks in zip(*batches, strict=True))
        return _measured(criterion, params, outputs, targets, prefix)


def _with_outputs(
    model: nn.Module, part: LoadedPart, params: Mapping[str, Any], prepare: Prepare
) -> Iterator[tuple[Tensors, Tensors]]:
    """Returns the outputs and the targets of each batch of a loader."""
    for batch in part.in_order(rows_per_batch(part)):
        with cast(params["precision"], part.device):
            outputs = full(call(model, prepare(batch.inputs)))
        yield outputs, batch.targets


def _accumulated(
    criterion: Criterion,
    params: Mapping[str, Any],
    batches: Iterable[tuple[Tensors, Tensors]],
    prefix: str,
) -> dict[str, float]:
    """Measures batch after batch, so that neither outputs nor targets are kept.

    The loss is a mean over targets, so that its mean over batches is weighted by their number.
    """
    loss, states = criterion.reported(params), criterion.states()
    losses, sizes = [], []
    for outputs, targets in batches:
        require_one(criterion.task, outputs, targets)
        losses.append(loss(outputs, targets).double().cpu())
        sizes.append(targets.numel())
        logits = criterion.logits(outputs, targets)
        for state in states.values():
            state.update(logits, targets)
    weights = torch.tensor(sizes, dtype=torch.float64)
    mean = float(torch.stack(losses) @ weights / weights.sum())
    if not math.isfinite(mean):
        return {f"{prefix}_loss": mean}
    measured = floats({name: state.compute() for name, state in states.items()}, prefix)
    return {f"{prefix}_loss": mean, **measured}


def outputs_of(
    model: nn.Module, part: AnyPart, params: Mapping[str, Any], prepare: Prepare = as_floats
) -> Tensors:
    """Returns a model's outputs for all samples of a part, in evaluation mode; see ``evaluate``.

    Args:
        model: On the device of the part.
        part: The samples.
        params: Of the trial, with defaults filled in.
        prepare: What models see of the inputs of a loader, see ``Task.prepare``.
    """
    model.eval()
    with torch.inference_mode():
        if not isinstance(part, LoadedPart):
            return predict(model, part.x, params["precision"])
        return joined([outputs for outputs, _ in _with_outputs(model, part, params, prepare)])


def measure(
    criterion: Criterion, params: Mapping[str, Any], outputs: Tensors, part: AnyPart, prefix: str
) -> dict[str, float]:
    """Measures outputs for the samples of a part; see ``evaluate``."""
    with torch.inference_mode():
        return _measured(criterion, params, outputs, targets_of(part), prefix)


def _measured(
    criterion: Criterion, params: Mapping[str, Any], outputs: Tensors, targets: Tensors, prefix: str
) -> dict[str, float]:
    loss = as_float("loss", criterion.reported(params)(outputs, targets))
    measured: dict[str, float] = {f"{prefix}_loss": loss}
    if math.isfinite(loss):
        measured = floats(criterion.metrics(outputs, targets), prefix) | measured
    # The loss first, for people who read tables.
    return {f"{prefix}_loss": loss, **measured}


def targets_of(part: AnyPart) -> Tensors:
    """Returns the targets of all samples of a part; a loader reads every item for that."""
    if not isinstance(part, LoadedPart):
        return part.y
    return joined([batch.targets for batch in part.in_order(rows_per_batch(part))])


def predict(model: nn.Module, x: Tensor, precision: str = "float32") -> Tensors:
    """Returns the outputs for all rows of ``x``, of shape [N, ...], chunk by chunk."""
    n_rows = rows_per_chunk(x)
    with cast(precision, x.device):
        # Copies, because a layer that works in place would else write into the data.
        chunks = [full(model(chunk.clone())) for chunk in torch.split(x, n_rows)]
    return joined(chunks)


def rows_per_batch(part: LoadedPart) -> int:
    """Returns how many samples of a loader go through a model at once."""
    return min(_LOADED_ROWS, len(part))


def rows_per_chunk(x: Tensor) -> int:
    """Returns how many rows of ``x`` go through a model at once."""
    per_row = max(1, math.prod(x.shape[1:]))
    return max(1, min(_MAX_ROWS, _CHUNK_VALUES // per_row))


def floats(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Returns a task's metrics as plain numbers, their names with a prefix.

    Raises:
        TaskError: A metric is no single number.
    """
    return {f"{prefix}_{name}": as_float(name, value) for name, value in values.items()}


def as_float(name: str, value: Any) -> float:
    """Returns a metric as a plain number.

    Raises:
        TaskError: It is none.
    """
    try:
        if isinstance(value, str):
            raise TypeError("a text such as '0.5' is a mistake, although float() takes it")
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        found = type(value).__name__
        if isinstance(value, Tensor):
            found += f" of shape {list(value.shape)}" if value.numel() != 1 else f", {value.dtype}"
        raise TaskError(f"the task's {name} must be a single number; found {found}") from error
