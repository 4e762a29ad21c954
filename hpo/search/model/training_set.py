"""Training set: the values among all reported ones that the model of curves is fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpo.search.base.curves import Curves, Floats, Ints, State
from hpo.search.model.kernel import Points
from hpo.search.model.model_settings import TRAINING_SET


@dataclass(frozen=True)
class OutputWarping:
    """Warps values so that those near the top are spread out, to mean 0 and deviation 1.

    Attributes:
        top: The best value.
        worst: The worst one; trials that diverged are as bad.
        usual: Median distance of the better half to the top.
        mean: Of the warped values.
        sd: Of the warped values.
    """

    top: float
    worst: float
    usual: float
    mean: float = 0.0
    sd: float = 1.0

    @classmethod
    def fit(cls, values: Floats, top: float) -> OutputWarping:
        """Returns the warping for some values, [N], minus infinity for trials that diverged."""
        finite = values[np.isfinite(values)]
        worst = float(finite.min()) if len(finite) else top
        gaps = top - np.maximum(values, worst)
        usual = float(np.median(np.sort(gaps)[: max(8, len(gaps) // 2)])) + 1e-12
        z = cls(top, worst, usual).transform(values)
        return cls(top, worst, usual, float(z.mean()), float(z.std()) + 1e-9)

    def transform(self, values: Floats) -> Floats:
        """Returns warped values."""
        gaps = np.maximum(self.top - np.maximum(values, self.worst), 0.0)
        return np.asarray((-np.log(gaps / self.usual + TRAINING_SET.epsilon) - self.mean) / self.sd)

    def untransform(self, z: Floats) -> Floats:
        """Returns the values that were warped; beyond the top the inverse is linear."""
        beyond = z * self.sd + self.mean + math.log(TRAINING_SET.epsilon)
        gaps = self.usual * (
            TRAINING_SET.epsilon * np.exp(-np.minimum(beyond, 0.0)) - TRAINING_SET.epsilon
        )
        return np.asarray(
            self.top - gaps + self.usual * TRAINING_SET.epsilon * np.maximum(beyond, 0.0)
        )


@dataclass(frozen=True)
class TrainingSet:
    """Values that a model is fitted to. N of them.

    Attributes:
        points: Where they were seen.
        z: [N] The values, warped and standardised.
        warping: How they were warped.
    """

    points: Points
    z: Tensor
    warping: OutputWarping

    @property
    def top(self) -> float:
        """The best value of the study, warped as ``z``."""
        return float(self.warping.transform(np.array([self.warping.top]))[0])


class Features:
    """The features of all trials of a study, and their times.

    Args:
        curves: The trials.
        features: [N, D] Their features.
    """

    def __init__(self, curves: Curves, features: Floats) -> None:
        self.curves = curves
        self._features = features
        self._log_horizon = math.log(curves.horizon) if curves.horizon > 1 else 1.0

    def points(self, rows: Ints, epochs: Ints) -> Points:
        """Returns where trials, by their rows, are after some epochs."""
        return Points(
            torch.from_numpy(self._features[rows]),
            self.times(epochs),
            torch.from_numpy(self.curves.numbers[rows]),
        )

    def new_points(self, features: Floats, epochs: Ints) -> Points:
        """Returns where trials that do not exist yet would be after some epochs."""
        untried = torch.full((len(features),), -1, dtype=torch.int64)
        return Points(torch.from_numpy(features), self.times(epochs), untried)

    def times(self, epochs: Ints) -> Tensor:
        """Returns epochs as the model sees them: logarithms, 1 at the horizon."""
        if self.curves.horizon <= 1:
            return torch.ones(len(epochs), dtype=torch.float64)
        return torch.from_numpy(np.log(np.maximum(epochs, 1.0)) / self._log_horizon)


def usable(curves: Curves) -> Ints:
    """Returns the rows of the trials that a model can learn from."""
    seen = (curves.epochs > 0) | ~np.isnan(curves.finals) | curves.diverged
    # User code that fails says nothing about the params, a loss that becomes NaN does.
    seen &= (curves.states != State.FAILED) | curves.diverged
    return np.flatnonzero(seen & curves.has_point)


def gather(inputs: Features, n_max: int) -> TrainingSet | None:
    """Chooses at most ``n_max`` values and standardises them.

    Two thirds are the last values of trials: the best ones, the newest ones, and some of every
    rank. The rest are earlier values of the best trials, which show how curves run.

    Returns:
        The training set; None when no trial has a finite value yet.
    """
    curves = inputs.curves
    rows = usable(curves)
    if not np.isfinite(curves.best[rows]).any():
        return None
    kept = _spread(rows, _ranked(curves, rows), 2 * n_max // 3)
    last_epochs = np.where(curves.epochs[kept] > 0, curves.epochs[kept], curves.horizon)
    last_values = np.where(curves.epochs[kept] > 0, curves.last[kept], curves.finals[kept])
    last_values = np.where(curves.diverged[kept], -np.inf, last_values)
    early_rows, early_epochs = _earlier(curves, _ranked(curves, rows), n_max - len(kept))
    values = np.concatenate([last_values, curves.values[early_rows, early_epochs - 1]])
    points = inputs.points(
        np.concatenate([kept, early_rows]), np.concatenate([last_epochs, early_epochs])
    )
    warping = OutputWarping.fit(values, float(np.nanmax(curves.best[rows])))
    return TrainingSet(points, torch.from_numpy(warping.transform(values)), warping)


def _ranked(curves: Curves, rows: Ints) -> Ints:
    """Returns rows by their best values, the best first; the older first among equals."""
    return rows[np.argsort(-np.nan_to_num(curves.best[rows], nan=-np.inf), kind="stable")]


def _spread(rows: Ints, ranked: Ints, n: int) -> Ints:
    """Returns at most ``n`` rows: half the best, the newest, and some of every rank."""
    if len(rows) <= n:
        return ranked
    chosen = dict.fromkeys(ranked[: n // 2].tolist())
    chosen.update(dict.fromkeys(rows[-n // 4 :].tolist()))
    rest = [row for row in ranked.tolist() if row not in chosen]
    picks = np.linspace(0, len(rest) - 1, max(0, n - len(chosen))).round().astype(int)
    chosen.update(dict.fromkeys(rest[i] for i in picks))
    return np.array(list(chosen)[:n], dtype=np.int64)


def _earlier(curves: Curves, ranked: Ints, n: int) -> tuple[Ints, Ints]:
    """Returns rows and epochs of earlier values, the best trials' first."""
    grid = early_epochs(curves.horizon)
    if not len(grid) or n <= 0 or not curves.values.shape[1]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    grid = grid[grid <= curves.values.shape[1]]
    rows, epochs = np.repeat(ranked, len(grid)), np.tile(grid, len(ranked))
    known = (epochs < curves.epochs[rows]) & np.isfinite(curves.values[rows, epochs - 1])
    return rows[known][:n], epochs[known][:n]


def early_epochs(horizon: int) -> Ints:
    """Returns the epochs whose values show how a curve runs, evenly spread by logarithm."""
    if horizon <= 2:
        return np.zeros(0, dtype=np.int64)
    n = max(1, round(math.log2(horizon)) - 1)
    spread = np.geomspace(2, horizon, n + 1)[:-1]
    return np.unique(spread.round().astype(np.int64))
