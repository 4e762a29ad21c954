"""Which epoch of a trial is its best."""

from __future__ import annotations

import math

import pytest

from hpo.train.epoch_scores import Score


def epochs(*found: tuple[float, float], direction: str = "maximize") -> int:
    """Returns the number of the best of some epochs, each of a metric and a loss."""
    score, best, number = Score.of("val_m", direction), dict[str, float](), 0
    for i, (metric, loss) in enumerate(found, start=1):
        metrics = {"val_m": metric, "val_loss": loss}
        if score.is_better(metrics, best):
            best, number = metrics, i
    return number


@pytest.mark.parametrize(("sign", "direction"), [(1.0, "maximize"), (-1.0, "minimize")])
def test_of_equal_epochs_the_one_with_less_loss_is_best(sign: float, direction: str) -> None:
    found = [(0.9, 0.5), (1.0, 0.4), (1.0, 0.2), (1.0, 0.3), (0.9, 0.1)]
    assert epochs(*((sign * metric, loss) for metric, loss in found), direction=direction) == 3
    assert epochs((sign, 0.3), (sign, 0.3), direction=direction) == 1


def test_without_a_loss_the_first_of_equal_epochs_stays() -> None:
    score = Score.of("val_m", "maximize")
    assert score.is_better({"val_m": math.inf}, {})
    assert not score.is_better({"val_m": 1.0}, {"val_m": 1.0})
    assert score.is_better({"val_m": 1.5}, {"val_m": 1.0})
