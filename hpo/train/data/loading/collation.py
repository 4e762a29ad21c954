"""Collation: items of a data set as a batch with inputs and targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from hpo.errors import TaskError, did_you_mean
from hpo.train.data.batch import TARGETS, Batch, leaves, mapped

_FORMS: Final = (
    "an item must be (inputs, target), or a dict with the target under one of the keys "
    f"{', '.join(TARGETS)}"
)


def batch_of(collated: Any, target: str | None = None) -> Batch:
    """Returns what a collate function has made of several items as inputs and targets.

    Args:
        collated: ``(x, y)``, ``(x1, x2, ..., y)``, or a dict of inputs and targets. The inputs may
            be a tuple or a dict themselves.
        target: Key of the targets in a dict; None for the usual ones.

    Raises:
        TaskError: It has another form, or holds something that is no tensor.
    """
    if isinstance(collated, Mapping):
        values = dict(collated)
        targets = values.pop(_target_key(values, target))
        inputs: Any = values
    elif isinstance(collated, tuple | list) and len(collated) > 1:
        *first, targets = collated
        inputs = first[0] if len(first) == 1 else tuple(first)
    else:
        found = f"a {type(collated).__name__}"
        if isinstance(collated, Tensor):
            found = "inputs alone (an autoencoder's target is its input: return (x, x))"
        raise TaskError(f"{_FORMS}; found {found}")
    if isinstance(inputs, list):
        inputs = tuple(inputs)
    elif isinstance(inputs, Mapping):
        inputs = dict(inputs)
    _require_tensors(inputs, "inputs")
    _require_tensors(targets, "targets")
    n = _n_samples(inputs)
    return Batch(mapped(_as_input, inputs), mapped(_as_target, targets), n)


def require_finite(batch: Batch) -> None:
    """Refuses inputs and targets that are NaN or infinite.

    Raises:
        TaskError: Some are.
    """
    for what, values in (("inputs", batch.inputs), ("targets", batch.targets)):
        for tensor in leaves(values):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise TaskError(f"its {what} are NaN or infinite")


def require_classes(batch: Batch, n_classes: int) -> None:
    """Refuses targets that are no classes: on a GPU one would end the process.

    PyTorch's own ``ignore_index``, -100, is left to the task's loss.

    Raises:
        TaskError: Some are below 0, or not below the number of classes.
    """
    y = batch.targets
    if not isinstance(y, Tensor) or y.is_floating_point() or not y.numel():
        return
    low, high = int(y.min()), int(y.max())
    if high >= n_classes or low < 0:
        wrong = high if high >= n_classes else low
        raise TaskError(f"its target is {wrong}; the {n_classes} classes are 0 to {n_classes - 1}")


def _target_key(values: Mapping[str, Any], target: str | None) -> str:
    if target is not None:
        if target not in values:
            hint = did_you_mean(target, values)
            raise TaskError(
                f"items have no {target!r}, which Data.datasets names as the target; they have "
                f"{', '.join(map(str, values))}{hint}"
            )
        return target
    found = [key for key in TARGETS if key in values]
    if len(found) != 1:
        which = "several of them" if found else f"only {', '.join(map(str, values))}"
        raise TaskError(
            f"{_FORMS}; found {which}", hint='name it: hpo.Data.datasets(..., target="key")'
        )
    return found[0]


def _require_tensors(values: Any, what: str) -> None:
    if isinstance(values, Tensor):
        if not values.dim():
            raise TaskError(f"the {what} of a batch must have an axis for its samples")
        return
    if isinstance(values, Mapping):
        for key, value in values.items():
            _require_tensors(value, f"{what} {key!r}")
        return
    if isinstance(values, tuple | list) and values and not isinstance(values[0], str):
        for value in values:
            _require_tensors(value, what)
        return
    example = values[0] if isinstance(values, tuple | list) and values else values
    raise TaskError(
        f"the {what} of a batch must be tensors; found {type(example).__name__}",
        hint="convert it in the data set, leave it out, or give Data.datasets a collate function",
    )


def _n_samples(inputs: Any) -> int:
    return len(leaves(inputs)[0])


def _as_input(x: Tensor) -> Tensor:
    return x.float() if x.dtype is torch.float64 else x


def _as_target(y: Tensor) -> Tensor:
    if y.is_floating_point():
        y = y.float()
    elif not y.is_complex():
        y = y.long()
    return y.squeeze(1) if y.dim() == 2 and y.shape[1] == 1 else y
