"""Classification tasks on tabular data: three data sets of scikit-learn and a synthetic one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hpo.spec.space.search_space import Categorical, Fixed, Float, Int
from hpo.tasks import task_options
from hpo.tasks.ready_tasks import ReadyMade
from hpo.train.data import sklearn_datasets
from hpo.train.data.dataset import Data
from hpo.train.data.synthetic import two_classes
from hpo.train.objective.metrics import metrics_of

_MOST_POINTS: Final = 1_000_000
_MOST_FEATURES: Final = 1_000


class _Measurements(ReadyMade):
    """Few rows and columns, so that every metric is cheap."""

    reports = metrics_of("classification")
    metric = "val_auroc"
    direction = "maximize"
    space: ClassVar[Mapping[str, Any]] = {
        "optimizer": Fixed("adam"),
        "learning_rate": Float(1e-4, 1e-1, log=True),
        "batch_size": Categorical([16, 32, 64]),
        "weight_decay": Float(1e-6, 1e-1, log=True),
        "depth": Int(1, 3),
        "width": Categorical([16, 32, 64]),
        "dropout": Float(0.0, 0.5),
        "normalization": Categorical(["none", "batch", "layer"]),
    }


class BreastCancer(_Measurements):
    """569 tumours with 30 measurements: malignant or benign."""

    in_shape = (30,)
    n_outputs = 2

    def data(self) -> Data:
        """Returns the data set."""
        return sklearn_datasets.breast_cancer()


class Wine(_Measurements):
    """178 wines with 13 measurements, of 3 growers."""

    in_shape = (13,)
    n_outputs = 3

    def data(self) -> Data:
        """Returns the data set."""
        return sklearn_datasets.wine()


class Iris(_Measurements):
    """150 flowers with 4 measurements, of 3 species."""

    in_shape = (4,)
    n_outputs = 3

    def data(self) -> Data:
        """Returns the data set."""
        return sklearn_datasets.iris()


class TwoClasses(_Measurements):
    """Synthetic points around a curved boundary; see ``hpo.data.two_classes``.

    Args:
        n: Number of points.
        n_features: Number of features.
        positive: Share of the second class.
        noise: How far the classes overlap.
        seed: Seed of the points.
    """

    n_outputs = 2

    def __init__(
        self,
        *,
        n: int = 1000,
        n_features: int = 10,
        positive: float = 0.5,
        noise: float = 0.5,
        seed: int = 0,
    ) -> None:
        task_options.require(
            n=task_options.count(n, 10, _MOST_POINTS),
            n_features=task_options.count(n_features, 1, _MOST_FEATURES),
            positive=task_options.number(positive, 0, 1, is_open=True),
            noise=task_options.number(noise, 0, 1_000),
            seed=task_options.seed(seed),
        )
        self.in_shape = (n_features,)
        self._data = two_classes(
            n, n_features=n_features, positive=positive, noise=noise, seed=seed
        )

    def data(self) -> Data:
        """Returns the data set."""
        return self._data
