"""A study of Optuna's as curves, whatever its objective calls a step, and however it reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState

from hpo.search.curves import Curves, Floats, Ints
from hpo.search.encoding import Encoder
from hpo.search.history import state_of

_MOST_STEPS = 512
# Reports this close to the trial's value, as a share of the range of values, are reports of it.
_CLOSE = 0.1
# Larger numbers would overflow where they are compared.
_LARGEST = 1e100


def finished_curves(trials: Sequence[FrozenTrial], encoder: Encoder, sign: float) -> Curves:
    """Returns what is known of the values of trials: what a model that proposes learns from.

    A complete trial has its value at the horizon, whatever it reported last. Reports count where
    they are reports of that value; an objective may well report one thing and return another.

    Args:
        trials: All trials.
        encoder: The parameters to look at.
        sign: 1 where larger values are better, else -1.
    """
    steps = _steps(trials) if _report_their_value(trials, sign) else np.zeros(0, dtype=np.int64)
    curves = _reported(trials, encoder, sign, steps)
    values, epochs, diverged = curves.values, curves.epochs, curves.diverged
    for i, trial in enumerate(trials):
        if trial.state == TrialState.COMPLETE and trial.values:
            values[i, -1] = _finite(sign * trial.values[0])
            epochs[i], diverged[i] = curves.horizon, False
        elif trial.state == TrialState.PRUNED and not epochs[i]:
            diverged[i] = True
    # Nothing is better than infinitely good, but nothing can be learnt from that either.
    usual = values[np.abs(values) < _LARGEST]
    top, worst = (usual.max(), usual.min()) if len(usual) else (0.0, 0.0)
    np.clip(values, worst, top, out=values)
    return curves


def reported_curves(trials: Sequence[FrozenTrial], encoder: Encoder, sign: float) -> Curves:
    """Returns what trials have reported, and nothing else: what a pruner compares.

    Args:
        trials: All trials.
        encoder: The parameters to look at.
        sign: 1 where larger values are better, else -1.
    """
    return _reported(trials, encoder, sign, _steps(trials))


def epoch_before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Returns the epoch at which a trial stood before its latest report; 0 for none."""
    steps = sorted(trial.intermediate_values)[:-1]
    return int(np.searchsorted(_steps(trials), steps[-1])) + 1 if steps else 0


def _reported(trials: Sequence[FrozenTrial], encoder: Encoder, sign: float, steps: Ints) -> Curves:
    """Returns the curves of reports; the first of ``steps`` is epoch 1.

    A value stands until the trial's next report: trials need not report at the same steps.
    """
    n, horizon = len(trials), max(1, len(steps))
    values, epochs = np.full((n, horizon), np.nan), np.zeros(n, dtype=np.int64)
    diverged = np.zeros(n, dtype=bool)
    for i, trial in enumerate(trials):
        reports = sorted(trial.intermediate_values.items()) if len(steps) else []
        diverged[i] = bool(reports) and not math.isfinite(reports[-1][1])
        reports = [(step, value) for step, value in reports if math.isfinite(value)]
        if not reports:
            continue
        places = np.searchsorted(steps, [step for step, _ in reports])
        # Of several reports up to one step the last one counts.
        at = dict(zip(places.tolist(), (_finite(sign * v) for _, v in reports), strict=True))
        epochs[i] = places[-1] + 1
        first = int(places[0])
        for column in range(first, int(epochs[i])):
            values[i, column] = at.get(column, values[i, column - 1] if column > first else 0.0)
    return Curves(
        numbers=np.array([trial.number for trial in trials], dtype=np.int64),
        states=np.array([state_of(trial.state) for trial in trials], dtype=np.int64),
        epochs=epochs,
        targets=np.zeros(n, dtype=np.int64),
        values=values,
        finals=np.full(n, np.nan),
        diverged=diverged,
        points=_points(trials, encoder),
        horizon=horizon,
        maximize=sign > 0,
    )


def _points(trials: Sequence[FrozenTrial], encoder: Encoder) -> Floats:
    rows = encoder.encode([trial.params for trial in trials])
    for i, trial in enumerate(trials):
        # A range has changed in between: a point with a value outside of it is none of these.
        lacking = np.isnan(rows[i])
        asked = [name in trial.params for name in encoder.names]
        if (lacking & asked).any() or (lacking.any() and not encoder.has_conditions):
            rows[i] = np.nan
    return rows


def _steps(trials: Sequence[FrozenTrial]) -> Ints:
    """Returns the steps that are looked at, ascending: of very many, evenly chosen ones."""
    steps = sorted({step for trial in trials for step in trial.intermediate_values})
    stride = -(-len(steps) // _MOST_STEPS) or 1
    # The last steps of all say most.
    return np.array(steps[::-1][::stride][::-1], dtype=np.int64)


def _report_their_value(trials: Sequence[FrozenTrial], sign: float) -> bool:
    """Tells whether trials report what they return in the end, at last or as their best."""
    ends = [
        (sign * trial.values[0], [sign * v for _, v in sorted(trial.intermediate_values.items())])
        for trial in trials
        if trial.state == TrialState.COMPLETE and trial.values and trial.intermediate_values
    ]
    ends = [(final, reports) for final, reports in ends if np.isfinite([final, *reports]).all()]
    if len(ends) < 2:
        return True
    finals = np.array([final for final, _ in ends])
    nearest = [min(abs(final - r[-1]), abs(final - max(r))) for final, r in ends]
    width = _CLOSE * (finals.max() - finals.min()) + 1e-12
    return bool(np.mean(np.array(nearest) <= width) >= 0.5)


def _finite(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)


def searched(study: Study) -> dict[str, BaseDistribution]:
    """Returns the parameters that all complete trials have, with their ranges."""
    common = intersection_search_space(study.get_trials(deepcopy=False))
    return {name: kind for name, kind in sorted(common.items()) if not kind.single()}
