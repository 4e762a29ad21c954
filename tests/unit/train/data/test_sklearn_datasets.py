"""The data sets that come with scikit-learn."""

from collections.abc import Callable

import pytest
import torch

from hpo import data
from hpo.data import Data
from hpo.errors import TaskError


@pytest.mark.parametrize(
    ("load", "n_rows", "n_classes", "in_shape"),
    [
        (data.digits, 1797, 10, (64,)),
        (lambda: data.digits(image=True), 1797, 10, (1, 8, 8)),
        (lambda: data.digits(rows=True), 1797, 10, (8, 8)),
        (data.breast_cancer, 569, 2, (30,)),
        (data.wine, 178, 3, (13,)),
        (data.iris, 150, 3, (4,)),
        (data.diabetes, 442, None, (10,)),
    ],
)
def test_shapes(
    load: Callable[[], Data], n_rows: int, n_classes: int | None, in_shape: tuple[int, ...]
) -> None:
    loaded = load()
    splits = loaded.splits()
    assert (loaded.n_rows, loaded.n_classes, splits.in_shape) == (n_rows, n_classes, in_shape)
    assert splits.train.x.dtype == torch.float32


def test_digits_are_pixels_from_0_to_1() -> None:
    x = data.digits().splits().train.x
    assert (float(x.min()), float(x.max())) == (0, 1)


def test_classes_are_shared_evenly() -> None:
    splits = data.digits().splits()
    counts = splits.val.y.bincount()
    assert counts.max() - counts.min() <= 3


def test_rows_are_those_of_the_images() -> None:
    images, rows = (data.digits(**{form: True}).splits().val.x for form in ("image", "rows"))
    assert images[:, 0].equal(rows)
    with pytest.raises(TaskError, match="images or rows, not both"):
        data.digits(image=True, rows=True)
