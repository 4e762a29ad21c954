"""Data of PyTorch data sets: kinds, classes, splits and folds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, TensorDataset

import hpo
from hpo.errors import TaskError
from hpo.spec.study_spec import ValidationSpec
from hpo.train.data.loading.loaded_splits import LoadedSplits


class Plain(Dataset[Any]):
    """Items that tell nothing but themselves."""

    def __init__(self, n: int = 100, target: Any = 1) -> None:
        self.n, self.target = n, target

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), self.target


class Labelled(Plain):
    def __init__(self, n: int = 100) -> None:
        super().__init__(n)
        self.targets = [int(i >= n * 0.8) for i in range(n)]

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), self.targets[index]


def loaded(data: hpo.Data, **validation: Any) -> LoadedSplits:
    splits = data.folds(ValidationSpec(**validation))[0]
    assert isinstance(splits, LoadedSplits)
    return splits


def test_kind_and_classes_are_told_by_the_data_set() -> None:
    assert hpo.Data.datasets(Labelled()).classes == ("0", "1")
    assert hpo.Data.datasets(Plain(target=0.5)).kind == "regression"
    assert hpo.Data.datasets(Plain(), classes=["cat", "dog"]).classes == ("cat", "dog")
    assert hpo.Data.datasets(Plain(), kind="regression").classes == ()
    named = Labelled()
    named.classes = ["sun", "rain"]  # type: ignore[attr-defined]
    assert hpo.Data.datasets(named).classes == ("sun", "rain")
    pair = TensorDataset(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))
    assert hpo.Data.datasets(ConcatDataset([pair, pair])).classes == ("0", "1", "2")


def test_validation_and_test_items_are_cut_off_as_from_samples_in_memory() -> None:
    dataset = Labelled()
    found = loaded(hpo.Data.datasets(dataset))
    x = np.arange(100.0)[:, None]
    in_memory = hpo.Data.split(x, dataset.targets).splits()
    assert found.test is not None
    assert in_memory.test is not None
    for ours, theirs in (
        (found.train, in_memory.train),
        (found.val, in_memory.val),
        (found.test, in_memory.test),
    ):
        assert ours.rows.tolist() == theirs.x[:, 0].int().tolist()


def test_random_changes_are_for_training_alone() -> None:
    class Changed(Labelled):
        def __getitem__(self, index: int) -> Any:
            return torch.tensor([index + 1000.0]), self.targets[index]

    found = loaded(hpo.Data.datasets(Labelled(), augmented=Changed(), workers=0))
    assert float(found.train.head(8).inputs.min()) >= 1000
    assert float(found.val.head(8).inputs.max()) < 1000


def test_each_item_is_validated_on_in_one_fold() -> None:
    folds = hpo.Data.datasets(Labelled()).folds(ValidationSpec(folds=4))
    rows = sorted(row for fold in folds for row in fold.val.rows)  # type: ignore[union-attr]
    assert len(rows) == len(set(rows)) == 80
    with pytest.raises(TaskError, match="cannot be cut into folds"):
        hpo.Data.datasets(Labelled(), Labelled()).folds(ValidationSpec(folds=4))


def test_given_splits_stay_and_nothing_else_is_cut_off() -> None:
    found = loaded(hpo.Data.datasets(Labelled(50), Labelled(20)))
    assert (len(found.train), len(found.val), found.test) == (50, 20, None)
    assert len(hpo.Data.datasets(Labelled(50), Labelled(20), Labelled(10))) == 80


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.ones(1), 1)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hpo.Data.datasets(DataLoader(Labelled())), "is a DataLoader"),
        (lambda: hpo.Data.datasets((1, 2)), "must be a map-style data set; found 'tuple'"),
        (lambda: hpo.Data.datasets(Stream()), "must have __getitem__ and __len__"),
        (lambda: hpo.Data.datasets(Plain(0)), "the training data set of Data.datasets is empty"),
        (lambda: hpo.Data.datasets(Plain()), "does not tell how many classes there are"),
        (lambda: hpo.Data.datasets(Plain(target=5), classes=3), "its target is 5; the 3 classes"),
        (lambda: hpo.Data.datasets(Labelled(), workers=-1), "workers of Data.datasets must be"),
        (lambda: hpo.Data.datasets(Labelled(), augmented=Labelled(9)), "found 9 and 100"),
        (lambda: hpo.Data.datasets(Labelled(), classes=1), "two at least; found 1"),
        (lambda: hpo.Data.datasets(Labelled(), Plain(target=7)), "its target is 7"),
        (lambda: hpo.Data.datasets(Labelled()).splits(), "not in memory"),
    ],
)
def test_what_cannot_be_used_is_told(make: Any, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        make()
    assert message in caught.value.message
