"""Automatic choice: the sampler and the scheduler that `auto` stands for in a study, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpo.spec.space.search_space import Categorical, Fixed, SearchSpace
from hpo.spec.study_spec import StudySpec

AUTO: Final = "auto"
# Curves shorter than this are hardly worth pausing in.
_FEWEST_EPOCHS: Final = 4
# A genetic algorithm needs this many trials to show what it can.
_MANY_TRIALS: Final = 1000
# Beyond this many features a Gaussian process learns too little from a few hundred values.
_MOST_FEATURES: Final = 100


@dataclass(frozen=True)
class Choice:
    """The sampler and the scheduler of a study.

    Attributes:
        sampler: A name of ``methods.SAMPLERS``, not ``auto`` unless our own model proposes.
        scheduler: A name of ``methods.PRUNERS``, never ``auto``.
        reason: Why ``auto`` chose them; empty when nothing was left to it.
    """

    sampler: str
    scheduler: str
    reason: str = ""


def choose(spec: StudySpec, *, can_pause: bool = True) -> Choice:
    """Returns what a study's ``auto`` means.

    Args:
        spec: The study.
        can_pause: Whether trials can pause: those of tasks can, and those of objectives that use
            ``hpo.Run``, which their first trial tells.
    """
    sampler, pruner = spec.sampler.name, spec.pruner.name
    if len(spec.directions) > 1:
        return _several_objectives(spec)
    if spec.objective is None and not _n_features(spec.space):
        return _nothing_searched(sampler, pruner)
    reasons = []
    if sampler == AUTO:
        sampler, reason = _sampler(spec, can_pause)
        reasons.append(reason)
    if pruner == AUTO:
        pruner, reason = _scheduler(spec, sampler, can_pause)
        reasons.append(reason)
    return Choice(sampler, pruner, "; ".join(reasons))


def _several_objectives(spec: StudySpec) -> Choice:
    sampler = spec.sampler.name
    if sampler != AUTO:
        return Choice(sampler, "none", "several objectives: no trial is stopped early")
    many = (spec.budget.trials or 0) >= _MANY_TRIALS
    chosen = "nsga2" if many else "tpe"
    return Choice(chosen, "none", f"several objectives: {chosen}, no trial is stopped early")


def _nothing_searched(sampler: str, pruner: str) -> Choice:
    """Returns the choice where every parameter is fixed: trials differ by their seeds alone."""
    reason = "nothing is searched: every trial is trained to the end" if pruner == AUTO else ""
    return Choice(
        "random" if sampler == AUTO else sampler, "none" if pruner == AUTO else pruner, reason
    )


def _sampler(spec: StudySpec, can_pause: bool) -> tuple[str, str]:
    n_features = _n_features(spec.space)
    if n_features > _MOST_FEATURES:
        return "tpe", f"tpe, as the space has {n_features} dimensions"
    known = "params and epochs" if can_pause or spec.objective is None else "params"
    return AUTO, f"a Gaussian process over {known}"


def _n_features(space: SearchSpace) -> int:
    """Returns the number of coordinates of a point, one for each choice of a parameter.

    Counted here, for an encoder brings NumPy and Optuna, which `hpo show` does without.
    """
    searched = [p for p in space.parameters.values() if not isinstance(p, Fixed)]
    return sum(len(p.choices) if isinstance(p, Categorical) else 1 for p in searched)


def _scheduler(spec: StudySpec, sampler: str, can_pause: bool) -> tuple[str, str]:
    epochs = spec.budget.epochs
    # How many steps an objective reports is its own matter, unless it can pause.
    if (can_pause or spec.objective is None) and epochs < _FEWEST_EPOCHS:
        return "none", f"no trial is stopped early, as it has {epochs} epochs at most"
    if not can_pause:
        return (
            "freeze-thaw",
            "trials that will hardly be the best are stopped, or pause with hpo.Run",
        )
    if sampler == AUTO:
        return "freeze-thaw", "trials pause, and resume when that promises more than new ones"
    return "asha", f"trials of {sampler} pause, and the best third of each rung is promoted"


def learns_from(spec: StudySpec) -> str:
    """Returns where a study's first points come from.

    Returns:
        ``shipped``, ``database``, ``none``, or the name of another study.
    """
    return str(spec.sampler.options.get("learn_from", "shipped"))


def learns_from_others(spec: StudySpec) -> bool:
    """Returns whether a study's first points come from other studies of its database."""
    return spec.sampler.name == AUTO and learns_from(spec) not in ("shipped", "none")


def named_source(spec: StudySpec) -> str | None:
    """Returns the one study to learn from; None where that may be any, or none."""
    source = learns_from(spec)
    return source if learns_from_others(spec) and source != "database" else None
