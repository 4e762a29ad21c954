"""Pruners by name: schedulers that only stop. Successive halving is our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo.search.base.auto import choose
from hpo.search.optuna.experimental import quietly
from hpo.search.optuna.inferred_space import known_space
from hpo.spec.study_spec import StudySpec

Factory: TypeAlias = Callable[[StudySpec], BasePruner]


class HalvingPruner(BasePruner):
    """Asynchronous successive halving, on what all trials have reported.

    Optuna's notes in the database that a trial has reached a rung when it is asked about it; trials
    that arrive together are then judged one after the other, each without those after it, and too
    many go on. This one reads the reports themselves: trials that arrive together are compared.

    Source: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, section 3.

    Args:
        lowest: Step of the first rung.
        factor: One in ``factor`` trials of a rung is promoted; each rung is so many times as
            far as the one before.
    """

    def __init__(self, lowest: int, factor: int) -> None:
        self._lowest, self._factor = lowest, factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Returns whether to stop a trial, which has just reported."""
        rung = self._rung(trial.intermediate_values)
        if rung is None:
            return False
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        own = sign * _at(trial.intermediate_values, rung)
        if math.isnan(own):
            return True
        trials = study.get_trials(deepcopy=False)
        others = (t.intermediate_values for t in trials if t.number != trial.number)
        values = [sign * _at(reports, rung) for reports in others]
        better = sum(value > own for value in values)
        n_there = 1 + sum(not math.isnan(value) for value in values)
        return better >= max(1, n_there // self._factor)

    def _rung(self, reports: Mapping[int, float]) -> int | None:
        """Returns the rung that the latest report is the first to reach, if it is."""
        steps = sorted(reports)
        if not steps:
            return None
        rung = self._lowest
        while rung * self._factor <= steps[-1]:
            rung *= self._factor
        before = steps[-2] if len(steps) > 1 else 0
        return rung if before < rung <= steps[-1] else None


def _at(reports: Mapping[int, float], rung: int) -> float:
    """Returns the first value from a rung on; NaN for a trial that has not come so far."""
    if rung in reports:
        return reports[rung]
    step = min((step for step in reports if step >= rung), default=None)
    return math.nan if step is None else reports[step]


def make_pruner(spec: StudySpec) -> BasePruner:
    """Builds the study's pruner; several objectives are never pruned."""
    if len(spec.directions) > 1:
        return NopPruner()
    with quietly():
        return PRUNERS[spec.pruner.name](spec)


def decides_at(spec: StudySpec, epoch: int) -> bool:
    """Returns whether the study's pruner may stop a trial after an epoch."""
    if len(spec.directions) > 1 or spec.pruner.name == "none":
        return False
    if spec.pruner.name != "asha" or set(spec.pruner.options) - {"reduction_factor", "type"}:
        return True
    factor = int(spec.pruner.options.get("reduction_factor", 3))
    rung = lowest_rung(spec.budget.epochs or 1, factor)
    while rung < epoch:
        rung *= factor
    return rung == epoch


def lowest_rung(epochs: int, reduction_factor: int) -> int:
    """Returns the first epoch at which halving may stop a trial: two rungs below the last.

    The ranking after the very first epochs says next to nothing about the end of the curve, so
    the rungs start late enough to be worth something.
    """
    return max(1, epochs // reduction_factor**2)


def _auto(spec: StudySpec) -> BasePruner:
    return PRUNERS[choose(spec, can_pause=False).scheduler](spec)


def _model(spec: StudySpec) -> BasePruner:
    # Brings torch, which other pruners do without.
    from hpo.search.model.freeze_thaw import settings_of
    from hpo.search.optuna.model_pruner import ModelPruner

    return ModelPruner(known_space(spec), settings_of(spec))


def _asha(spec: StudySpec) -> BasePruner:
    options = {name: value for name, value in spec.pruner.options.items() if name != "type"}
    factor = int(options.get("reduction_factor", 3))
    lowest = options.get("min_resource", lowest_rung(spec.budget.epochs, factor))
    if set(options) <= {"reduction_factor", "min_resource"} and lowest != "auto":
        return HalvingPruner(int(lowest), factor)
    return SuccessiveHalvingPruner(
        **{"reduction_factor": factor, "min_resource": lowest, **options}
    )


def _hyperband(spec: StudySpec) -> BasePruner:
    # How many steps an objective reports, its first complete trial tells.
    usual = spec.budget.epochs if spec.objective is None else "auto"
    epochs = spec.budget.to_given().get("epochs", usual)
    return HyperbandPruner(**{"max_resource": epochs, **spec.pruner.options})


def _plain(pruner: Callable[..., BasePruner], **defaults: Any) -> Factory:
    return lambda spec: pruner(**{**defaults, **spec.pruner.options})


PRUNERS: dict[str, Factory] = {
    "auto": _auto,
    "none": _plain(NopPruner),
    "median": _plain(MedianPruner),
    "percentile": _plain(PercentilePruner, percentile=25.0),
    "threshold": _plain(ThresholdPruner),
    "patient": _plain(PatientPruner, wrapped_pruner=None, patience=3),
    "wilcoxon": _plain(WilcoxonPruner),
    "asha": _asha,
    "hyperband": _hyperband,
    "bohb": _hyperband,
    "freeze-thaw": _model,
}
