"""Study curves: a study of Optuna's as curves, whatever its objective calls a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState

from hpo.search.base.curves import Curves, Ints
from hpo.search.base.history import state_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.optuna.inferred_space import rows_of
from hpo.search.optuna.reported_values import LARGEST, Reports, Row, chosen, curve, finite

# Reports this close to the trial's value, as a share of the range of values, are reports of it.
_CLOSE = 0.1


def finished_curves(trials: Sequence[FrozenTrial], encoder: Encoder, sign: float) -> Curves:
    """Returns what is known of the values of trials: what a model that proposes learns from.

    A complete trial has its value at the horizon, whatever it reported last. Reports count where
    they are reports of that value; an objective may well report one thing and return another.

    Args:
        trials: All trials.
        encoder: The parameters to look at.
        sign: 1 where larger values are better, else -1.
    """
    steps: set[int] = set()
    if _report_their_value(trials, sign):
        steps.update(*(trial.intermediate_values for trial in trials))
    looked_at = chosen(steps)
    rows = [curve(trial, looked_at, sign) for trial in trials]
    curves = _curves(trials, encoder, rows, max(1, len(looked_at)), sign)
    values, epochs, diverged = curves.values, curves.epochs, curves.diverged
    for i, trial in enumerate(trials):
        if trial.state == TrialState.COMPLETE and trial.values:
            values[i, -1] = finite(sign * trial.values[0])
            epochs[i], diverged[i] = curves.horizon, False
        elif trial.state == TrialState.PRUNED and not epochs[i]:
            diverged[i] = True
    # Nothing is better than infinitely good, but nothing can be learnt from that either.
    usual = values[np.abs(values) < LARGEST]
    top, worst = (usual.max(), usual.min()) if len(usual) else (0.0, 0.0)
    np.clip(values, worst, top, out=values)
    return curves


def reported_curves(
    trials: Sequence[FrozenTrial], encoder: Encoder, sign: float, reports: Reports | None = None
) -> Curves:
    """Returns what trials have reported, and nothing else: what a pruner compares.

    Args:
        trials: All trials.
        encoder: The parameters to look at.
        sign: 1 where larger values are better, else -1.
        reports: What is known from the last time.
    """
    known = reports or Reports()
    steps = known.steps(trials)
    rows = known.rows(trials, steps, sign)
    return _curves(trials, encoder, rows, max(1, len(steps)), sign)


def epoch_before(trial: FrozenTrial, steps: Ints) -> int:
    """Returns the epoch at which a trial stood before its latest report; 0 for none."""
    before = sorted(trial.intermediate_values)[:-1]
    return epoch_of(before[-1], steps) if before else 0


def epoch_of(step: int, steps: Ints) -> int:
    """Returns the epoch that a step is; of a later one than all, one more than there are."""
    return int(np.searchsorted(steps, step)) + 1


def _curves(
    trials: Sequence[FrozenTrial], encoder: Encoder, rows: Sequence[Row], horizon: int, sign: float
) -> Curves:
    n = len(trials)
    return Curves(
        numbers=np.array([trial.number for trial in trials], dtype=np.int64),
        states=np.array([state_of(trial.state) for trial in trials], dtype=np.int64),
        epochs=np.array([row.epoch for row in rows], dtype=np.int64),
        targets=np.zeros(n, dtype=np.int64),
        values=np.array([row.values for row in rows]).reshape(n, horizon),
        finals=np.full(n, np.nan),
        diverged=np.array([row.is_diverged for row in rows], dtype=bool),
        points=rows_of([trial.params for trial in trials], encoder),
        horizon=horizon,
        maximize=sign > 0,
    )


def _report_their_value(trials: Sequence[FrozenTrial], sign: float) -> bool:
    """Returns whether trials report what they return in the end, at last or as their best."""
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


def common_search_space(study: Study) -> dict[str, BaseDistribution]:
    """Returns the parameters that all complete trials have, with their ranges."""
    common = intersection_search_space(study.get_trials(deepcopy=False))
    return {name: kind for name, kind in sorted(common.items()) if not kind.single()}
