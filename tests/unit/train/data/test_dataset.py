"""Data in splits: who decides, what is fitted on which rows, what is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from hpo.data import Data
from hpo.errors import TaskError
from hpo.spec.study_spec import ValidationSpec

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = [0, 1] * 10


class Spy:
    """Keeps what it was fitted on; adds a column."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def fit(self, x: Any, y: Any) -> None:
        self.seen.append((np.asarray(x), y))

    def transform(self, x: Any) -> Any:
        x = np.asarray(x, dtype=float)
        return np.hstack([x, np.ones((len(x), 1))])


class Halves(Spy):
    def transform_target(self, y: Any) -> Any:
        return y / 2


def test_splits_are_disjoint_and_whole() -> None:
    splits = Data.split(X, Y).splits()
    assert splits.test is not None
    parts = [splits.train, splits.val, splits.test]
    assert [len(part) for part in parts] == [12, 4, 4]
    rows = torch.cat([part.x[:, 0] for part in parts])
    assert sorted(rows.tolist()) == X[:, 0].tolist()
    for part in parts:
        assert part.y.tolist() == [int(v) // 2 % 2 for v in part.x[:, 0]]
    assert (splits.n_classes, splits.in_shape, splits.n_features) == (2, (2,), 2)


def test_the_study_decides_what_the_task_leaves_open() -> None:
    study = ValidationSpec(val_fraction=0.1, test_fraction=0.0, seed=5)
    splits = Data.split(X, Y).splits(study)
    assert len(splits.val) == 2
    assert splits.test is None
    own = Data.split(X, Y, val_fraction=0.3, seed=1)
    assert len(own.splits(study).val) == 6
    other_seed = ValidationSpec(val_fraction=0.1, test_fraction=0.0, seed=6)
    assert own.splits(study).val.x.equal(own.splits(other_seed).val.x)
    assert not Data.split(X, Y).splits(other_seed).val.x.equal(splits.val.x)


def test_a_split_by_order_measures_what_comes_last() -> None:
    splits = Data.split(X, Y, order=-X[:, 0]).splits()
    assert splits.test is not None
    assert splits.test.x[:, 0].tolist() == X[:4, 0].tolist()
    assert splits.val.x[:, 0].tolist() == X[4:8, 0].tolist()


def test_a_split_by_groups_keeps_them_together() -> None:
    splits = Data.split(X, Y, groups=[name for name in "abcdefghij" for _ in range(2)]).splits()
    assert splits.test is not None
    for part in (splits.train, splits.val, splits.test):
        pairs = (part.x[:, 0] // 4).tolist()
        assert all(pairs.count(pair) == 2 for pair in pairs)


def test_a_test_split_may_be_given() -> None:
    data = Data.split(X, Y, test=(X[:3], [1, 1, 0]))
    splits = data.splits(ValidationSpec(val_fraction=0.25, test_fraction=0.4))
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), splits.test.y.tolist()) == (15, 5, [1, 1, 0])
    assert data.n_rows == 23
    spy = Spy()
    splits = Data.split(X, Y, test=(X[:3], [1, 1, 0]), preprocess=spy).splits()
    assert splits.test is not None
    assert splits.test.x.shape == (3, 3)
    assert len(spy.seen[0][1]) == len(splits.train) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": Y, "groups": Y}, "by groups or by order, not by both"),
        ({"order": Y[:3]}, "20 samples have 3 values to split them by"),
        ({"test": (X, Y), "test_fraction": 0.2}, "given or cut off"),
        ({"test": (X[:, :1], Y)}, "features of one shape"),
        ({"test": (X, Y[:3])}, "as many; found 20 and 3"),
    ],
)
def test_splits_that_contradict_themselves(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Data.split(X, Y, **arguments)


def test_fractions_of_task_and_study_must_fit_together() -> None:
    with pytest.raises(TaskError, match="must be below 1"):
        Data.split(X, Y, val_fraction=0.9).splits(ValidationSpec())


@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame, torch.as_tensor, np.ndarray.tolist])
def test_preprocessing_sees_the_training_rows_only(form: Any) -> None:
    spy = Spy()
    splits = Data.split(form(X), Y, preprocess=spy).splits()
    ((seen_x, seen_y),) = spy.seen
    assert seen_x.tolist() == splits.train.x[:, :2].tolist()
    assert seen_y.tolist() == splits.train.y.tolist()
    assert splits.in_shape == (3,)
    assert splits.val.x.dtype == torch.float32


def test_standardised_by_training_rows() -> None:
    splits = Data.split(X, Y, preprocess=StandardScaler()).splits()
    assert splits.train.x.mean(0).abs().max() < 1e-6
    assert splits.val.x.mean(0).abs().max() > 1e-3


def test_preprocessing_of_targets_is_for_regressions() -> None:
    splits = Data.split(X, [float(i) for i in range(20)], preprocess=Halves()).splits()
    assert (splits.train.x[:, 0] / 4).tolist() == splits.train.y.tolist()
    assert set(Data.split(X, Y, preprocess=Halves()).splits().train.y.tolist()) == {0, 1}


def test_missing_values_are_the_preprocessings_concern() -> None:
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.raises(TaskError, match="1 of the features are NaN"):
        Data.split(x, Y)
    with pytest.raises(TaskError, match="of the preprocessed features are NaN"):
        Data.split(x, Y, preprocess=StandardScaler()).splits()


def test_preprocessing_that_raises() -> None:
    data = Data.split(pd.DataFrame({"a": ["x"] * 20}), Y, preprocess=StandardScaler())
    with pytest.raises(TaskError, match="the preprocessing raises ValueError"):
        data.splits()


def test_lengths_must_match() -> None:
    with pytest.raises(TaskError, match="as many; found 20 and 3"):
        Data.split(X, [0, 1, 0])


def test_images_keep_their_shape() -> None:
    splits = Data.split(torch.rand(20, 1, 4, 4), Y).splits()
    assert splits.in_shape == (1, 4, 4)
    assert splits.n_features == 16


def test_fixed_splits() -> None:
    data = Data.fixed((X[:10], ["a", "b"] * 5), (X[10:14], ["c"] * 4), (X[14:], ["a"] * 6))
    splits = data.splits(ValidationSpec(val_fraction=0.9, test_fraction=0.0))
    assert splits.test is not None
    assert [len(splits.train), len(splits.val), len(splits.test)] == [10, 4, 6]
    assert splits.classes == data.classes == ("a", "b", "c")
    assert splits.val.y.tolist() == [2] * 4
    assert data.n_rows == len(data) == 20


def test_fixed_without_a_test_split() -> None:
    assert Data.fixed((X, torch.rand(20)), (X, torch.rand(20))).splits().test is None


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ((X, Y), (X[:, :1], Y), "features of one shape"),
        ((X, Y), (X, Y[:3]), "as many; found 20 and 3"),
        ((X, Y), (X[:0], []), "no split may be empty"),
        ((X, np.ones((20, 2))), (X, np.ones(20)), "targets of one shape"),
    ],
)
def test_wrong_fixed_splits(train: Any, val: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Data.fixed(train, val)


def test_moving_to_a_device() -> None:
    splits = Data.split(X, Y).splits().to("meta")
    assert splits.test is not None
    assert {p.x.device.type for p in (splits.train, splits.val, splits.test)} == {"meta"}
    assert (splits.n_classes, splits.kind) == (2, "classification")


def test_targets_are_standardised_before_they_lose_their_digits() -> None:
    from hpo.tasks.tables.standard_units import StandardUnits

    x = np.random.RandomState(0).normal(size=(60, 1))
    y = 1_700_000_000 + 30 * x[:, 0]
    data = Data.split(x, y, preprocess=StandardUnits())
    train = data.splits().train
    assert train.y.dtype == torch.float32
    assert len(train.y.unique()) == len(train)
    assert torch.corrcoef(torch.stack([train.x[:, 0], train.y]))[0, 1] == pytest.approx(1)
    # Back in their own units they have all their digits.
    back = data.plan.in_units(train.y).numpy()
    assert np.abs(back[:, None] - y).min(axis=1).max() < 1e-4
