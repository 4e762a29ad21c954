"""Batches: samples that go through a model together, whatever form its inputs have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from hpo.errors import TaskError

Tensors: TypeAlias = Any
"""A tensor, or a tuple or dict of tensors, nested or not."""

TARGETS: Final = ("target", "targets", "label", "labels")
"""Keys under which a batch that is a dict may have its targets."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples with their targets.

    Attributes:
        inputs: What the model takes: a tensor of shape [B, ...], or a tuple or dict of such.
        targets: Of shape [B, ...]; a tuple or dict of tensors where the task's own loss reads them.
        n: Number of samples, B.
    """

    inputs: Tensors
    targets: Tensors
    n: int

    def to(self, device: torch.device | str) -> Batch:
        """Returns the samples in a device's memory; copies from pinned memory are not waited for.

        Args:
            device: As PyTorch names it.
        """
        if torch.device(device).type == "cpu":
            return self
        inputs, targets = (
            mapped(lambda value: value.to(device, non_blocking=True), values)
            for values in (self.inputs, self.targets)
        )
        return Batch(inputs, targets, self.n)

    def pin_memory(self, device: str | None = None) -> Batch:
        """Returns the samples in pinned memory; PyTorch's loaders call this."""
        inputs, targets = (
            mapped(lambda value: value.pin_memory(), values)
            for values in (self.inputs, self.targets)
        )
        return Batch(inputs, targets, self.n)


def call(model: Callable[..., Any], inputs: Tensors) -> Any:
    """Calls a model: ``model(x)``, ``model(*xs)`` for a tuple, ``model(**xs)`` for a dict."""
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def mapped(function: Callable[[Tensor], Tensor], values: Tensors) -> Tensors:
    """Returns what a function makes of each tensor of tuples, lists and dicts.

    What is no tensor stays as it is.
    """
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        found = {key: mapped(function, value) for key, value in values.items()}
        # Such as a ModelOutput of transformers: its attributes are its keys.
        return found if type(values) is dict else _alike(values, found)
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(mapped(function, value) for value in values))
    if isinstance(values, tuple | list):
        return type(values)(mapped(function, value) for value in values)
    return values


def leaves(values: Tensors) -> list[Tensor]:
    """Returns the tensors of tuples, lists and dicts."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, tuple | list):
        return []
    return [tensor for value in values for tensor in leaves(value)]


def joined(chunks: Sequence[Tensors]) -> Tensors:
    """Returns several chunks of samples as one, tensor by tensor.

    Args:
        chunks: At least one; tensors of shape [B, ...], or tuples or dicts of such, all alike.

    Raises:
        TaskError: Their shapes differ in more than the number of samples.
    """
    first = chunks[0]
    if isinstance(first, Tensor):
        try:
            return torch.cat([chunk.unsqueeze(0) if not chunk.dim() else chunk for chunk in chunks])
        except RuntimeError as error:
            shapes = sorted({str(list(chunk.shape[1:])) for chunk in chunks})
            raise TaskError(
                "batches whose samples differ in shape cannot be put together for metrics(): "
                f"found {', '.join(shapes)}",
                hint="pad them to one shape in collate, or leave metrics() to hpo",
            ) from error
    if isinstance(first, Mapping):
        found = {key: joined([chunk[key] for chunk in chunks]) for key in first}
        return found if type(first) is dict else _alike(first, found)
    if isinstance(first, tuple | list):
        parts = [joined(column) for column in zip(*chunks, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return first


def as_floats(inputs: Tensors) -> Tensors:
    """Returns inputs in which bytes, such as the pixels of images, are float32 from 0 to 1."""
    return mapped(lambda x: x.float() / 255 if x.dtype is torch.uint8 else x, inputs)


def _alike(example: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    try:
        return type(example)(**values)
    except TypeError:
        return values
