"""Pruners by name: schedulers that only stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

from hpo.search.quiet import quietly
from hpo.spec.study import StudySpec

Factory: TypeAlias = Callable[[Mapping[str, Any], int], BasePruner]


def make_pruner(spec: StudySpec) -> BasePruner:
    """Builds the study's pruner; several objectives are never pruned."""
    if len(spec.directions) > 1:
        return NopPruner()
    with quietly():
        return PRUNERS[spec.pruner.name](spec.pruner.options, spec.budget.epochs)


def decides_at(spec: StudySpec, epoch: int) -> bool:
    """Tells whether the study's pruner may stop a trial after an epoch."""
    if len(spec.directions) > 1 or spec.pruner.name == "none":
        return False
    if spec.pruner.name != "asha" or set(spec.pruner.options) - {"reduction_factor"}:
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


def _asha(options: Mapping[str, Any], epochs: int) -> BasePruner:
    factor = int(options.get("reduction_factor", 3))
    defaults = {"reduction_factor": factor, "min_resource": lowest_rung(epochs, factor)}
    return SuccessiveHalvingPruner(**{**defaults, **options})


PRUNERS: dict[str, Factory] = {
    "none": lambda options, epochs: NopPruner(),
    "median": lambda options, epochs: MedianPruner(**options),
    "percentile": lambda options, epochs: PercentilePruner(**{"percentile": 25.0, **options}),
    "threshold": lambda options, epochs: ThresholdPruner(**options),
    "patient": lambda options, epochs: PatientPruner(None, **{"patience": 3, **options}),
    "wilcoxon": lambda options, epochs: WilcoxonPruner(**options),
    "asha": _asha,
    "hyperband": lambda options, epochs: HyperbandPruner(**{"max_resource": epochs, **options}),
}
