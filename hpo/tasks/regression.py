"""Regression tasks: a line, and two data sets with standardised targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from torch import Tensor

from hpo.spec.space.search_space import Categorical, Fixed, Float, Int
from hpo.tasks import task_options
from hpo.tasks.ready_tasks import ReadyMade
from hpo.tasks.tables.standard_units import StandardUnits, metrics_in_units
from hpo.train.data import downloaded_datasets, sklearn_datasets
from hpo.train.data.dataset import Data
from hpo.train.data.synthetic import line
from hpo.train.objective.metrics import metrics_of

_MOST_POINTS: Final = 10_000_000
_STEEPEST: Final = 1e6


class LinearRegression(ReadyMade):
    """Points of a line with noise; the linear model learns its slope and intercept.

    Args:
        n: Number of points.
        slope: Slope of the line.
        intercept: Intercept of the line.
        noise: Standard deviation of the noise.
        seed: Seed of the points.
    """

    in_shape = (1,)
    n_outputs = 1
    reports = metrics_of("regression")
    defaults: ClassVar[Mapping[str, Any]] = {"model": "linear"}
    space: ClassVar[Mapping[str, Any]] = {
        "optimizer": Fixed("sgd"),
        "learning_rate": Float(1e-3, 1.0, log=True),
        "batch_size": Categorical([1, 10, "full"]),
    }
    metric = "val_mse"
    direction = "minimize"

    def __init__(
        self,
        *,
        n: int = 100,
        slope: float = 2.0,
        intercept: float = 1.0,
        noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        task_options.require(
            n=task_options.count(n, 5, _MOST_POINTS),
            slope=task_options.number(slope, -_STEEPEST, _STEEPEST),
            intercept=task_options.number(intercept, -_STEEPEST, _STEEPEST),
            noise=task_options.number(noise, 0, _STEEPEST),
            seed=task_options.seed(seed),
        )
        self._data = line(n, slope=slope, intercept=intercept, noise=noise, seed=seed)

    def data(self) -> Data:
        """Returns the data set."""
        return self._data


class _InUnits(ReadyMade):
    """A regression with standardised targets, measured in the units of the data."""

    n_outputs = 1
    measures_in_units = True
    metric = "val_r2"
    direction = "maximize"
    space: ClassVar[Mapping[str, Any]] = {
        "optimizer": Fixed("adam"),
        "learning_rate": Float(1e-4, 1e-1, log=True),
        "batch_size": Categorical([16, 32, 64, 128]),
        "weight_decay": Float(1e-6, 1e-1, log=True),
        "depth": Int(1, 3),
        "width": Categorical([16, 32, 64, 128]),
        "dropout": Float(0.0, 0.5),
    }

    def __init__(self) -> None:
        self._units = StandardUnits()

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        """Returns the metrics of a whole split."""
        return metrics_in_units(outputs, targets, self._units.target_scale)


class Diabetes(_InUnits):
    """442 patients with 10 measurements: disease progression after one year."""

    in_shape = (10,)

    def data(self) -> Data:
        """Returns the data set."""
        return sklearn_datasets.diabetes(preprocess=self._units)


class CaliforniaHousing(_InUnits):
    """20,640 districts with 8 measurements: the median value of a house. Downloaded once."""

    in_shape = (8,)

    def data(self) -> Data:
        """Returns the data set."""
        return downloaded_datasets.california_housing(preprocess=self._units)
