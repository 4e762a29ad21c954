"""Item source: what a loading process does for a batch: it reads, collates and looks it over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    default_collate,
    get_worker_info,
)

from hpo.errors import TaskError
from hpo.tracebacks import headline, report_of, shown
from hpo.train.data.batch import Batch
from hpo.train.data.loading.collation import batch_of, require_classes, require_finite

_MASK: Final = 2**64 - 1
_FILES: Final = ("samples", "imgs", "files", "paths", "filenames")
"""Attributes in which data sets keep a file for each item, by convention."""


class BatchKey(NamedTuple):
    """Which items a batch has.

    Attributes:
        source: Name of the data set.
        rows: Indices of the items.
        epoch: For which they are read: random augmentations differ from epoch to epoch.
    """

    source: str
    rows: tuple[int, ...]
    epoch: int


@dataclass(frozen=True)
class UnusableBatch:
    """Why a batch could not be read, as a loading process sends it.

    Attributes:
        message: What a person should read.
        hint: What helps.
        report: The traceback, for an exception of the data set.
        is_memory: Whether memory ran out.
    """

    message: str
    hint: str | None = None
    report: str = ""
    is_memory: bool = False

    def error(self) -> TaskError:
        """Returns the exception to raise where the batch was asked for."""
        error = TaskError(self.message, hint=self.hint, details=self.report.splitlines())
        if self.is_memory:
            error.__cause__ = MemoryError(self.message)
        return error


@dataclass(frozen=True, eq=False)
class ItemSource(Dataset[Any]):
    """Data sets by name, and how their items become batches.

    An item's random numbers follow from the study's seed, the epoch and the item's index. They
    depend neither on the batch that it is in nor on the process that reads it.

    Attributes:
        datasets: Map-style data sets.
        collate: Makes a batch of a list of items; PyTorch's default by default.
        target: Key of the targets where items are dicts.
        seed: The study's.
        n_classes: Targets are checked against this; None where they are no classes.
    """

    datasets: Mapping[str, Any]
    collate: Callable[[list[Any]], Any] | None = None
    target: str | None = None
    seed: int = 0
    n_classes: int | None = None

    def __getitem__(self, key: BatchKey) -> Batch | UnusableBatch:
        # In a process of its own nothing else draws from the generators.
        if get_worker_info() is not None:
            return self._read(key)
        with _kept_generators():
            return self._read(key)

    def _read(self, key: BatchKey) -> Batch | UnusableBatch:
        dataset, items = self.datasets[key.source], []
        for row in key.rows:
            _seed(_mixed(self.seed, key.epoch, row))
            try:
                items.append(dataset[row])
            except Exception as error:  # noqa: BLE001 - the data set's own fault, whatever it is
                return _unreadable(dataset, key.source, row, error)
        try:
            return self._checked(items)
        except TaskError as error:
            return self._blamed(key, items, error)
        except Exception as error:  # noqa: BLE001 - of the collate function
            message = f"the items of the {key.source} data set cannot be collated into a batch"
            return UnusableBatch(
                f"{message}: {headline(error)}",
                "make all items alike, or give Data.datasets a collate function",
                report_of(error) if self.collate else "",
            )

    def _checked(self, items: list[Any]) -> Batch:
        batch = batch_of((self.collate or default_collate)(items), self.target)
        require_finite(batch)
        if self.n_classes is not None:
            require_classes(batch, self.n_classes)
        return batch

    def _blamed(self, key: BatchKey, items: Sequence[Any], error: TaskError) -> UnusableBatch:
        """Returns what is wrong with a batch, with the first item that has it by itself."""
        for row, item in zip(key.rows, items, strict=True):
            try:
                self._checked([item])
            except TaskError as own:
                where = _named(self.datasets[key.source], key.source, row)
                return UnusableBatch(f"{where}: {own.message}", own.hint)
            except Exception:  # noqa: BLE001 - a collate function for several items
                continue
        return UnusableBatch(f"the {key.source} data set: {error.message}", error.hint)


def file_of(dataset: Any, row: int) -> str | None:
    """Returns the file of an item, where the data set tells it as torchvision's do."""
    if isinstance(dataset, Subset):
        return file_of(dataset.dataset, int(dataset.indices[row]))
    if isinstance(dataset, ConcatDataset):
        part = int(np.searchsorted(dataset.cumulative_sizes, row, side="right"))
        before = dataset.cumulative_sizes[part - 1] if part else 0
        return file_of(dataset.datasets[part], row - before)
    for name in _FILES:
        files = getattr(dataset, name, None)
        if isinstance(files, Sequence) and not isinstance(files, str) and row < len(files):
            entry = files[row]
            found = entry[0] if isinstance(entry, tuple | list) and entry else entry
            return str(found) if isinstance(found, str | Path) else None
    return None


def _named(dataset: Any, source: str, row: int) -> str:
    file = file_of(dataset, row)
    return f"item {row} of the {source} data set" + (f" ({file})" if file else "")


def _unreadable(dataset: Any, source: str, row: int, error: Exception) -> UnusableBatch:
    message = f"{_named(dataset, source, row)} cannot be read: {headline(error)}"
    return UnusableBatch(message, None, report_of(error), isinstance(error, MemoryError))


def first_items(dataset: Any, source: str, n: int) -> list[Any]:
    """Returns the first items of a data set.

    Raises:
        TaskError: It raises.
    """
    items = []
    with _kept_generators():
        for row in range(min(n, len(dataset))):
            _seed(_mixed(0, 0, row))
            try:
                items.append(dataset[row])
            except Exception as error:
                raise _unreadable(dataset, source, row, error).error() from error
    return items


def require_map_style(dataset: Any, source: str) -> None:
    """Refuses what has no items by their index.

    Raises:
        TaskError: It is a loader, a generator, a pair of arrays, or empty.
    """
    name = f"the {source} data set of Data.datasets"
    if hasattr(dataset, "batch_sampler") and hasattr(dataset, "dataset"):
        raise TaskError(
            f"{name} is a DataLoader; hpo makes the loaders, for batch_size is a parameter",
            hint="give its data set: loader.dataset",
        )
    if isinstance(dataset, tuple | list | dict | torch.Tensor | np.ndarray):
        raise TaskError(
            f"{name} must be a map-style data set; found {shown(type(dataset).__name__)}",
            hint="hpo.Data.split(x, y) takes samples in memory, and TensorDataset(x, y) is one",
        )
    is_stream = isinstance(dataset, IterableDataset)
    if is_stream or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TaskError(
            f"{name} must have __getitem__ and __len__; {type(dataset).__name__} does not",
            hint="an order by the study's seed needs items by their index",
        )
    try:
        n = len(dataset)
    except TypeError as error:
        raise TaskError(f"{name} has no length: {error}") from error
    if not n:
        raise TaskError(f"{name} is empty")


def _mixed(*numbers: int) -> int:
    """Returns a seed of 64 bits that follows from several numbers.

    Source: Steele et al. 2014, Fast splittable pseudorandom number generators.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed >> 1)


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Leaves the process's generators as they were: the model draws from them as well."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
