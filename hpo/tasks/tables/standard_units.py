"""Standardised regression targets, with outputs and metrics in the units of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hpo.train.objective import metric_formulas as metrics


class TargetUnits:
    """Regression targets with mean 0 and standard deviation 1 on the training rows.

    Computed in double precision, as numbers such as 1,700,000,012 have too many digits for float32.

    Attributes:
        target_mean: Mean of the training targets.
        target_scale: Their standard deviation.
    """

    def __init__(self) -> None:
        self.target_mean = 0.0
        self.target_scale = 1.0

    def fit_target(self, y: NDArray[Any]) -> None:
        """Fits mean and scale to the targets of training rows, of shape [N]."""
        self.target_mean, self.target_scale = mean_and_scale(y)

    def transform_target(self, y: NDArray[np.float64]) -> NDArray[np.float32]:
        """Returns standardised targets."""
        numbers = np.asarray(y, dtype=np.float64)
        return np.asarray((numbers - self.target_mean) / self.target_scale, dtype=np.float32)

    def inverse_target(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Returns standardised numbers in the units of the targets."""
        numbers = np.asarray(y, dtype=np.float64)
        return np.asarray(numbers * self.target_scale + self.target_mean)


class StandardUnits(TargetUnits):
    """Features and targets with mean 0 and standard deviation 1 on the training rows."""

    def __init__(self) -> None:
        super().__init__()
        self._scaler: Any = None

    @property
    def scaler(self) -> Any:
        """The scaler of the features, of scikit-learn; None before ``fit``."""
        return self._scaler

    def fit(self, x: Any, y: NDArray[Any]) -> StandardUnits:
        """Fits means and scales to training rows.

        Args:
            x: Features of shape [N, F].
            y: Targets of shape [N].
        """
        from sklearn.preprocessing import StandardScaler

        self._scaler = StandardScaler().fit(x)
        self.fit_target(y)
        return self

    def transform(self, x: Any) -> Any:
        """Returns standardised features."""
        return self._scaler.transform(x)


def mean_and_scale(y: NDArray[Any]) -> tuple[float, float]:
    """Returns mean and standard deviation of targets; the latter is 1 if all are the same."""
    return float(np.mean(y, dtype=np.float64)), float(np.std(y, dtype=np.float64)) or 1.0


def metrics_in_units(outputs: Tensor, targets: Tensor, scale: float) -> dict[str, Tensor]:
    """Returns the metrics of a regression in the units of the data.

    Args:
        outputs: Standardised outputs, of shape [N] or [N, 1].
        targets: Standardised targets, of shape [N].
        scale: Standard deviation of the targets, in the units of the data.
    """
    mse = _wide(metrics.mean_squared_error(outputs, targets)) * scale**2
    return {
        "mse": mse,
        "rmse": mse.sqrt(),
        "mae": _wide(metrics.mean_absolute_error(outputs, targets)) * scale,
        "r2": metrics.r2(outputs, targets),
    }


def _wide(value: Tensor) -> Tensor:
    """Returns a value in double precision, in which squares of large units do not overflow."""
    # MPS has no double precision.
    return value if value.device.type == "mps" else value.double()
