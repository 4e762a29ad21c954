"""Importance: how much each parameter decides whether a trial is among the best.

Computed by Optuna's PED-ANOVA, which compares the best tenth of the trials with all of them. Its
time grows with the number of trials, so of a large study a sample is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpo.errors import HpoError
from hpo.report.plots.optuna_study import optuna_study, quiet
from hpo.report.plots.plotted_trials import PlottedTrials, Target, read_plotted
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database

MOST_TRIALS: Final = 3_000
"""Trials from which importances are computed; of more, a sample."""
FEWEST_TRIALS: Final = 10
_ROUGH_BELOW: Final = 50
_BEST_PART: Final = 0.1
_FEWEST_BEST: Final = 5
_LITTLE: Final = 0.05


@dataclass(frozen=True)
class Importance:
    """Importances of a study's parameters.

    Attributes:
        target: The objective that they explain.
        shares: Share of each parameter, the largest first; their sum is 1.
        n_trials: Number of trials from which they were computed.
    """

    target: Target
    shares: Mapping[str, float]
    n_trials: int

    @property
    def sentence(self) -> str:
        """What mattered: ``learning_rate matters most (62 %), then depth (21 %)...``."""
        (first, most), *rest = self.shares.items()
        text = f"{first} matters most for {self.target.metric} ({most:.0%})"
        large = [f"{name} ({share:.0%})" for name, share in rest[:2] if share >= _LITTLE]
        if large:
            text += f", then {' and '.join(large)}"
        small = [name for name, share in rest if share < _LITTLE]
        if small:
            listed = ", ".join(small[:4]) + (f" and {len(small) - 4} more" if small[4:] else "")
            text += f"; {listed} hardly matter{'s' * (len(small) == 1)}"
        if self.n_trials < _ROUGH_BELOW:
            text += f". This is rough: it rests on {self.n_trials} trials"
        return text + "."


def given(shares: Sequence[Mapping[str, float]]) -> Any:
    """Returns an evaluator for Optuna's plot, with importances that were computed before.

    Args:
        shares: Share of each parameter, for each objective in the order in which the plot asks.
    """
    from optuna.importance import PedAnovaImportanceEvaluator

    class Given(PedAnovaImportanceEvaluator):
        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            return dict(next(asked))

    asked = iter(shares)
    return Given()


def read_importance(db: Database, subject: Subject, target: Target) -> Importance:
    """Computes the importances of a study's parameters for one objective.

    Raises:
        HpoError: It has too few trials, or they do not differ.
    """
    plotted = read_plotted(db, subject, (target,), MOST_TRIALS, with_far=True, spread=True)
    return importance_of(plotted, subject, target)


def importance_of(plotted: PlottedTrials, subject: Subject, target: Target) -> Importance:
    """Computes importances from trials that were read.

    Raises:
        HpoError: There are too few trials, or they do not differ.
    """
    n = len(plotted.trials)
    if n < FEWEST_TRIALS:
        raise HpoError(
            f"importance needs at least {FEWEST_TRIALS} trials with a value; {subject.name} has {n}"
        )
    if len({value.values[target.index] for value in plotted.values}) == 1:
        raise HpoError(f"all trials of {subject.name} have the same {target.metric}")
    names = varying(plotted)
    if not names:
        raise HpoError(f"no parameter of {subject.name} varies between its trials")
    shares = _shares(plotted, target, names)
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return Importance(target, dict(ordered), n)


def varying(plotted: PlottedTrials) -> list[str]:
    """Returns the parameters that have more than one value in these trials, in their order.

    A parameter that some trials do not have counts as varying.
    """
    found: dict[str, set[object]] = {}
    counts: dict[str, int] = {}
    for trial in plotted.trials:
        for name, value in trial.params.items():
            # A choice may be a list.
            found.setdefault(name, set()).add(value if _is_hashable(value) else repr(value))
            counts[name] = counts.get(name, 0) + 1
    n = len(plotted.trials)
    return [name for name, values in found.items() if len(values) > 1 or counts[name] < n]


def most_important(
    plotted: PlottedTrials, subject: Subject, target: Target, limit: int
) -> list[str]:
    """Returns the parameters that a plot shows by default: the most important first."""
    names = varying(plotted) or list(dict.fromkeys(k for t in plotted.trials for k in t.params))
    if len(names) <= limit:
        return names
    try:
        ranked: Sequence[str] = list(importance_of(plotted, subject, target).shares)
    except HpoError:
        ranked = names
    return list(ranked[:limit])


def _is_hashable(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _shares(plotted: PlottedTrials, target: Target, names: Sequence[str]) -> dict[str, float]:
    # Brings scikit-learn, which other plots do without.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    n = len(plotted.trials)
    best_part = min(0.5, max(_BEST_PART, _FEWEST_BEST / n))
    # Names are written as they are: nothing is drawn here.
    study = optuna_study(plotted, (target,), names, str)
    with quiet():
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best_part)
        found = get_param_importances(study, evaluator=evaluator)
    return {name: float(found.get(name, 0.0)) for name in names}
