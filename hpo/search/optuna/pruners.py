"""Pruners by name: schedulers that only stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

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

from hpo.search.base.auto import choose
from hpo.search.optuna.experimental import quietly
from hpo.search.optuna.halving_pruner import HalvingPruner
from hpo.search.optuna.inferred_space import known_space
from hpo.spec.study_spec import StudySpec

Factory: TypeAlias = Callable[[StudySpec], BasePruner]


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
