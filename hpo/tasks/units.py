"""Regression in standard units: what a network learns best, told in the units of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hpo.train import metrics


class StandardUnits:
    """Features and targets with mean 0 and deviation 1 on the training rows.

    Attributes:
        target_mean: Mean of the training targets.
        target_scale: Their standard deviation.
    """

    def __init__(self) -> None:
        self._scaler: Any = None
        self.target_mean = 0.0
        self.target_scale = 1.0

    def fit(self, x: Any, y: NDArray[Any]) -> StandardUnits:
        """Learns means and scales from training rows.

        Args:
            x: Features of shape [N, F].
            y: Targets of shape [N].
        """
        from sklearn.preprocessing import StandardScaler

        self._scaler = StandardScaler().fit(x)
        self.target_mean, self.target_scale = mean_and_scale(y)
        return self

    def transform(self, x: Any) -> Any:
        """Returns features in standard units."""
        return self._scaler.transform(x)

    def transform_target(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """Returns targets in standard units."""
        return np.asarray((y - self.target_mean) / self.target_scale, dtype=np.float32)

    def inverse_target(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns numbers in standard units in those of the targets."""
        return np.asarray(y * self.target_scale + self.target_mean, dtype=np.float32)


def mean_and_scale(y: NDArray[Any]) -> tuple[float, float]:
    """Returns mean and standard deviation of targets; the latter is 1 if all are the same."""
    return float(np.mean(y, dtype=np.float64)), float(np.std(y, dtype=np.float64)) or 1.0


def metrics_in_units(outputs: Tensor, targets: Tensor, scale: float) -> dict[str, Tensor]:
    """Returns the metrics of a regression in the units of the data.

    Args:
        outputs: In standard units, of shape [N] or [N, 1].
        targets: In standard units, of shape [N].
        scale: What a standard unit is in those of the data.
    """
    mse = metrics.mean_squared_error(outputs, targets) * scale**2
    return {
        "mse": mse,
        "rmse": mse.sqrt(),
        "mae": metrics.mean_absolute_error(outputs, targets) * scale,
        "r2": metrics.r2(outputs, targets),
    }
