"""Influence of the parameters on the results of trials, as far as the trials can show it.

A random forest learns the ranks of some trials from their parameters and forecasts those of the
others. If its forecasts are no better than the mean rank, the trials do not show what mattered.
Else a parameter matters as much as the forecasts get worse when its values are exchanged between
trials. Both are measured on trials that the forest has not seen, with their standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from hpo.report.page.comparable_trials import ComparableTrials

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestRegressor

    Matrix = NDArray[np.float64]

FEWEST_TRIALS: Final = 20
_N_FOLDS: Final = 5
_N_TREES: Final = 24
_N_SHUFFLES: Final = 3
_MIN_T: Final = 3.0
"""A mean so many standard errors above zero is no chance, even of one parameter among ten."""
_ABSENT: Final = -1e30


@dataclass(frozen=True)
class ParamInfluence:
    """The influence of one parameter.

    Attributes:
        share: Its part of the influence of all parameters, from 0 to 1.
        is_visible: Whether it is more than chance.
    """

    name: str
    share: float
    is_visible: bool


@dataclass(frozen=True)
class Influence:
    """What the trials show of the parameters' influence on one objective.

    Attributes:
        trials: From which it was computed.
        explained: Part of the variance of unseen ranks that the forest forecasts, from 0 to 1.
        params: The parameters, the most influential first; empty if it cannot be told.
        obstacle: Why it cannot be told; empty if it can.
    """

    trials: ComparableTrials
    explained: float = 0.0
    params: tuple[ParamInfluence, ...] = ()
    obstacle: str = ""

    @property
    def visible(self) -> tuple[ParamInfluence, ...]:
        """The parameters whose influence is more than chance."""
        return tuple(param for param in self.params if param.is_visible)


def influence_of(candidates: Sequence[ComparableTrials]) -> Influence:
    """Computes the influence of the parameters on the values of trials.

    Args:
        candidates: Trials with values of one objective; those that show the most are used.
    """
    return max((_influence_of(each) for each in candidates), key=lambda one: one.explained)


def _influence_of(trials: ComparableTrials) -> Influence:
    n = len(trials.values)
    names = varying(trials.params)
    if n < FEWEST_TRIALS:
        some = f"only {n} trial{'s have' if n != 1 else ' has'} comparable values" if n else ""
        why = some or "no trials have comparable values"
        return Influence(trials, obstacle=f"{why}; {FEWEST_TRIALS} are needed")
    if not names:
        return Influence(trials, obstacle="no parameter differs between the trials")
    if len(set(trials.values)) == 1:
        return Influence(trials, obstacle=f"all {n} trials have the same value")
    found = _measured(trials, names)
    if found.params:
        return found
    why = f"forecasts from the parameters are no better than chance for these {n} trials"
    return Influence(trials, obstacle=why)


def varying(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the parameters that differ between trials, in the order of their first use."""
    found: dict[str, set[str]] = {}
    for given in params:
        for name in given:
            found.setdefault(name, set())
    for name, values in found.items():
        values.update(repr(given.get(name)) for given in params)
    return [name for name, values in found.items() if len(values) > 1]


@dataclass(frozen=True)
class _Fold:
    """A forest, and the trials that it has not seen.

    Attributes:
        unseen: Their parameters.
        truth: Their ranks.
        errors: Squared errors of the forest's forecasts.
        gains: By how much these are below those of the mean rank.
    """

    forest: RandomForestRegressor
    unseen: Matrix
    truth: Matrix
    errors: Matrix
    gains: Matrix


def _measured(trials: ComparableTrials, names: Sequence[str]) -> Influence:
    matrix, columns = _encoded(trials.params, names)
    ranks = _ranks(np.asarray(trials.values, dtype=np.float64))
    rng = np.random.default_rng(0)
    fold_of = rng.permutation(len(ranks)) % _N_FOLDS
    folds = [_fold(matrix, ranks, fold_of == i) for i in range(_N_FOLDS)]
    gains = np.concatenate([fold.gains for fold in folds])
    if _t(gains) < _MIN_T:
        return Influence(trials)
    losses = np.concatenate([_losses(fold, columns, rng) for fold in folds])
    means = np.maximum(losses.mean(axis=0), 0.0)
    if not means.sum():
        return Influence(trials)
    params = [
        ParamInfluence(name, float(mean / means.sum()), _t(losses[:, i]) > _MIN_T)
        for i, (name, mean) in enumerate(zip(names, means, strict=True))
    ]
    params.sort(key=lambda param: -param.share)
    return Influence(trials, float(gains.mean() / ranks.var()), tuple(params))


def _fold(matrix: Matrix, ranks: Matrix, is_unseen: NDArray[np.bool_]) -> _Fold:
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        _N_TREES, max_depth=8, min_samples_leaf=3, max_features=0.6, random_state=0, n_jobs=1
    )
    forest.fit(matrix[~is_unseen], ranks[~is_unseen])
    unseen, truth = matrix[is_unseen], ranks[is_unseen]
    errors = (forest.predict(unseen) - truth) ** 2
    gains = (ranks[~is_unseen].mean() - truth) ** 2 - errors
    return _Fold(forest, unseen, truth, errors, gains)


def _losses(fold: _Fold, columns: Sequence[slice], rng: np.random.Generator) -> Matrix:
    """Returns by how much the error grows if a parameter's values are exchanged: (trial, param)."""
    n = len(fold.truth)
    variants = []
    for column in columns:
        for _ in range(_N_SHUFFLES):
            shuffled = fold.unseen.copy()
            shuffled[:, column] = fold.unseen[rng.permutation(n), column]
            variants.append(shuffled)
    errors = (fold.forest.predict(np.concatenate(variants)).reshape(-1, n) - fold.truth) ** 2
    losses = errors.reshape(len(columns), _N_SHUFFLES, n).mean(axis=1) - fold.errors
    return np.asarray(losses.T)


def _t(values: Matrix) -> float:
    """Returns a mean in standard errors."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) / error if error else 0.0


def _ranks(values: Matrix) -> Matrix:
    """Returns the ranks from 0 to 1: a diverged value counts no more than the worst one."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Equal values share the mean of their ranks.
    last = np.cumsum(counts) - 1
    found: Matrix = (last - (counts - 1) / 2)[index] / (len(values) - 1)
    return found


def _encoded(
    params: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[Matrix, list[slice]]:
    """Returns a row a trial, and the columns of each parameter: one a choice, or its number."""
    blocks: list[Matrix] = []
    columns: list[slice] = []
    n_columns = 0
    for name in names:
        values = [given.get(name) for given in params]
        if all(value is None or is_number(value) for value in values):
            block = np.array([[_ABSENT if v is None else float(v)] for v in values])
        else:
            texts = [repr(value) for value in values]
            choices = sorted(set(texts))
            block = np.array([[float(text == choice) for choice in choices] for text in texts])
        blocks.append(block)
        columns.append(slice(n_columns, n_columns + block.shape[1]))
        n_columns += block.shape[1]
    return np.concatenate(blocks, axis=1), columns


def is_number(value: Any) -> TypeGuard[int | float]:
    """Returns whether a parameter's value is a number; a switch is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
