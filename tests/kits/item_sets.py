"""Map-style data sets of a few items, which count how often each is read."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hpo.spec.study_spec import ValidationSpec
from hpo.train.data.dataset import Data
from hpo.train.data.loading.loaded_splits import LoadedSplits

N_TRAIN, N_VAL, N_TEST = 54, 18, 12


class ItemSet(Dataset[Any]):
    """Inputs and targets, item by item.

    Args:
        inputs: A tensor, or a tuple or dict of tensors, of shape [N, ...].
        targets: Of shape [N].
        rows: Which of them.
    """

    def __init__(self, inputs: Any, targets: Tensor, rows: range) -> None:
        self._inputs, self._targets, self._rows = inputs, targets, rows
        self.reads: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> Any:
        self.reads[i] += 1
        row = self._rows[i]
        target = self._targets[row]
        if isinstance(self._inputs, dict):
            return {**{k: v[row] for k, v in self._inputs.items()}, "target": target}
        if isinstance(self._inputs, tuple):
            return (*(one[row] for one in self._inputs), target)
        return self._inputs[row], target


def item_sets(inputs: Any, targets: Tensor) -> tuple[ItemSet, ItemSet, ItemSet]:
    """Data sets for training, validation and test."""
    ends = (0, N_TRAIN, N_TRAIN + N_VAL, N_TRAIN + N_VAL + N_TEST)
    first, second, third = (ItemSet(inputs, targets, range(*ends[i : i + 2])) for i in range(3))
    return first, second, third


def loaded(sets: tuple[ItemSet, ItemSet, ItemSet], seed: int = 5, **options: Any) -> LoadedSplits:
    """Splits whose items this process reads, in the order that follows from a study's seed."""
    values: dict[str, Any] = {"workers": 0, "classes": 3, **options}
    (splits,) = Data.datasets(*sets, **values).folds(ValidationSpec())
    assert isinstance(splits, LoadedSplits)
    return splits.seeded_by(seed)


def three_classes() -> Tensor:
    """Targets of all items."""
    return torch.arange(N_TRAIN + N_VAL + N_TEST) % 3


def pixels(size: int = 8) -> Tensor:
    """Images of bytes, whose brightness depends on their class."""
    generator = torch.Generator().manual_seed(0)
    y = three_classes()
    noise = torch.randint(0, 100, (len(y), 2, size, size), generator=generator)
    return (noise + 50 * y.view(-1, 1, 1, 1)).to(torch.uint8)
