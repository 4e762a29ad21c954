"""Loaded splits: what engines train with in place of samples in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.train.data.arrays import Kind
from hpo.train.data.batch import Batch, as_floats
from hpo.train.data.loading.item_loader import ItemLoader
from hpo.train.data.loading.item_source import BatchKey
from hpo.train.data.split_assignment import Rows
from hpo.train.data.splits import FittedPreprocessing, Splits

_CPU: Final = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class LoadedPart:
    """Some of the items of a data set.

    Attributes:
        loader: Reads the batches; all parts share it.
        source: Name of the data set in the loader.
        rows: Which of its items, of shape [N].
        device: Where batches are wanted.
        targets: Targets of the items, of shape [N], where the data set tells them by itself.
    """

    loader: ItemLoader
    source: str
    rows: Rows
    device: torch.device = _CPU
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def seed(self) -> int:
        """The study's seed, from which the order of training samples follows."""
        return self.loader.seed

    @property
    def y(self) -> Tensor:
        """Targets of all items.

        Raises:
            TaskError: They are not known without reading every item.
        """
        if self.targets is None:
            raise TaskError(
                'class_weights = "balanced" needs the targets of all items, and the data set does '
                "not tell them without reading every one",
                hint="give the data set an attribute `targets`, a list with one class an item",
            )
        return self.targets

    def batches(self, batches: Iterable[Sequence[int]], epoch: int = 0) -> Iterator[Batch]:
        """Returns batches on the device, read ahead by the loading processes.

        Args:
            batches: Places in this part of the samples of each batch.
            epoch: Epochs completed before; random augmentations follow from it.

        Raises:
            TaskError: An item cannot be read.
        """
        keys = [
            BatchKey(self.source, tuple(self.rows[np.asarray(places)].tolist()), epoch)
            for places in batches
        ]
        return self.loader.batches(keys, self.device)

    def in_order(self, batch_size: int, n: int | None = None) -> Iterator[Batch]:
        """Returns all samples, or the first ``n``, in order.

        Args:
            batch_size: Samples of a batch.
            n: None for all.
        """
        n = len(self) if n is None else min(n, len(self))
        starts = range(0, n, batch_size)
        return self.batches([range(begin, min(begin + batch_size, n)) for begin in starts])

    def head(self, n: int) -> Batch:
        """Returns the first ``n`` samples."""
        return next(self.in_order(n, n))

    def first(self, n: int) -> LoadedPart:
        """Returns a part of the first ``n`` samples."""
        targets = None if self.targets is None else self.targets[:n]
        return replace(self, rows=self.rows[:n], targets=targets)

    def to(self, device: torch.device | str) -> LoadedPart:
        """Returns the part with its batches on another device."""
        return replace(self, device=torch.device(device))


@dataclass(frozen=True, eq=False)
class LoadedSplits:
    """Data sets in splits; items are read when they are needed.

    Attributes:
        train: What models are fitted on.
        val: What trials are compared on.
        test: What only the best trial sees, if there is a test split.
        kind: Classification or regression.
        classes: Name of each class; empty for a regression.
        example: A few training samples, on the CPU, as the loader gives them.
    """

    train: LoadedPart
    val: LoadedPart
    test: LoadedPart | None
    kind: Kind
    classes: tuple[str, ...]
    example: Batch

    @property
    def fitted(self) -> FittedPreprocessing:
        """Nothing: items come as they are."""
        return FittedPreprocessing()

    @property
    def n_classes(self) -> int | None:
        """Number of classes; None for a regression."""
        return len(self.classes) or None

    @cached_property
    def samples(self) -> Tensor | None:
        """Inputs of a few samples as models see them; None where a model has several inputs."""
        inputs = as_floats(self.example.inputs)
        return inputs if isinstance(inputs, Tensor) else None

    @property
    def known_targets(self) -> Tensor:
        """Targets of all training samples, or of a few where the data set does not tell them."""
        return self.example.targets if self.train.targets is None else self.train.targets

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the inputs of one sample; empty where a model has several."""
        return () if self.samples is None else tuple(self.samples.shape[1:])

    @property
    def n_features(self) -> int:
        """The number of input values of one sample."""
        return math.prod(self.in_shape)

    @property
    def dtype(self) -> str:
        """Type of the inputs as models see them."""
        return "" if self.samples is None else str(self.samples.dtype).removeprefix("torch.")

    def to(self, device: torch.device | str) -> LoadedSplits:
        """Returns the splits with their batches on another device."""
        test = self.test.to(device) if self.test else None
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=test)

    def seeded_by(self, seed: int) -> LoadedSplits:
        """Has the order of training samples and their augmentations follow from a seed.

        Args:
            seed: The study's.
        """
        if self.train.loader.seed != seed:
            self.train.loader.seed = seed
        return self

    def close(self) -> None:
        """Ends the loading processes."""
        self.train.loader.close()


AnySplits: TypeAlias = Splits | LoadedSplits
