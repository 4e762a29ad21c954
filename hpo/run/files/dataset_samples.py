"""Dataset samples: what a model that was trained on data sets can predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, default_collate

from hpo.errors import SpecError, TaskError
from hpo.train.data.batch import Tensors
from hpo.train.data.loading.collation import batch_of
from hpo.train.user_code_guard import user_code

_N_ROWS: Final = 256


def batches_of(samples: Any, in_shape: Sequence[int]) -> Iterator[Tensors]:
    """Returns inputs of samples, batch by batch.

    Args:
        samples: A tensor or array of inputs, of shape [N, ...], or a map-style data set: of items
            as those of the task, whose targets are left out, or of inputs alone. A ``DataLoader``
            gives its batches, for items that need a collate function.
        in_shape: Shape of one input; empty where the model takes several.

    Raises:
        SpecError: They are neither, or of another shape.
        TaskError: The items cannot be collated.
    """
    if isinstance(samples, DataFrame | list | tuple | dict | str):
        raise SpecError(
            "the model was trained on a data set, and predicts an array of its inputs or a data "
            f"set; found {type(samples).__name__}",
            hint="give an array (.npy), a data set in Python, or define samples() in the task",
        )
    if isinstance(samples, Tensor | np.ndarray):
        values = torch.as_tensor(samples)
        values = values.float() if values.dtype is torch.float64 else values
        if not in_shape or tuple(values.shape[1:]) != tuple(in_shape):
            wanted = f"of shape {list(in_shape)}" if in_shape else "an item of a data set"
            raise SpecError(f"a sample must be {wanted}; found {list(values.shape[1:])}")
        yield from torch.split(values, _N_ROWS)
        return
    if isinstance(samples, DataLoader):
        if isinstance(samples.sampler, RandomSampler):
            raise SpecError("the loader shuffles its items; their order would be lost")
        with user_code("the loader"):
            yield from map(_inputs, samples)
        return
    if not hasattr(samples, "__getitem__") or not hasattr(samples, "__len__"):
        raise SpecError(
            f"samples must be an array or a map-style data set; found {type(samples).__name__}"
        )
    for begin in range(0, len(samples), _N_ROWS):
        end = min(begin + _N_ROWS, len(samples))
        with user_code("the data set"):
            collated = default_collate([samples[i] for i in range(begin, end)])
        yield _inputs(collated)


def _inputs(collated: Any) -> Tensors:
    if isinstance(collated, Tensor):
        return collated
    try:
        return batch_of(collated).inputs
    except TaskError:
        # A dict of inputs alone has no target to leave out.
        if isinstance(collated, dict) and all(isinstance(v, Tensor) for v in collated.values()):
            return collated
        raise
