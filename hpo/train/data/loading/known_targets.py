"""Known targets: those that a data set tells without reading its items, as torchvision's do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

_ATTRIBUTES: Final = ("targets", "labels")


def targets_of(dataset: Any) -> Tensor | None:
    """Returns the targets of all items, of shape [N], or None where they are not known.

    Args:
        dataset: A map-style data set: with an attribute ``targets`` or ``labels``, a
            ``TensorDataset``, or a ``Subset`` or ``ConcatDataset`` of such.
    """
    if isinstance(dataset, Subset):
        inner = targets_of(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(list(dataset.indices))]
    if isinstance(dataset, ConcatDataset):
        parts = [targets_of(one) for one in dataset.datasets]
        return None if any(part is None for part in parts) else torch.cat(parts)  # type: ignore[arg-type]
    if isinstance(dataset, TensorDataset):
        return _one_each(dataset.tensors[-1], len(dataset))
    for name in _ATTRIBUTES:
        found = _one_each(getattr(dataset, name, None), len(dataset))
        if found is not None:
            return found
    return None


def class_names_of(dataset: Any) -> tuple[str, ...]:
    """Returns the names of the classes that a data set tells by ``classes``, or nothing."""
    if isinstance(dataset, Subset):
        return class_names_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return class_names_of(dataset.datasets[0])
    names = getattr(dataset, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _one_each(values: Any, n: int) -> Tensor | None:
    if not isinstance(values, Sequence | np.ndarray | Tensor) or isinstance(values, str):
        return None
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    if found.dim() == 2 and found.shape[1] == 1:
        found = found.squeeze(1)
    if found.shape != (n,) or found.is_complex():
        return None
    return found.float() if found.is_floating_point() else found.long()
