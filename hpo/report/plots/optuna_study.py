"""Optuna study: the plotted trials in the form in which Optuna's plots and importances read them.

Names and choices come from a database that others write to. So they are made printable and, for
HTML, escaped: plotly.js reads tags and entities in each text.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.optuna_internals import trial_id_of
from hpo.report.plots.plotted_trials import PlottedTrials, Target
from hpo.report.plots.texts import short
from hpo.report.text.printable import cell

Writer = Callable[[str], str]

STOPPED: Final = "constraints:stopped"
"""Attribute by which Optuna's plots draw stopped trials as they draw infeasible ones: in grey."""
_LONGEST_CHOICE: Final = 20


class OptunaStudy(optuna.Study):
    """A study that has its trials in a list.

    Args:
        directions: ``maximize`` or ``minimize`` for each objective.
        metrics: Name of each objective, as it is shown.
        trials: Its trials.
    """

    def __init__(
        self, directions: Sequence[str], metrics: Sequence[str], trials: Sequence[FrozenTrial]
    ) -> None:
        storage = InMemoryStorage()
        with quiet():
            storage.create_new_study([StudyDirection[each.upper()] for each in directions], "plot")
            super().__init__("plot", storage)
        self._metrics = list(metrics)
        self._trials = list(trials)

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Returns the trials in these states; never change them."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    @property
    def metric_names(self) -> list[str]:
        """Names of the objectives."""
        return self._metrics


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Optuna's log and its warnings, which are for programmers, from the user."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def shown_names(names: Iterable[str], write: Writer) -> dict[str, str]:
    """Returns how each name is shown; names that would look the same get a number."""
    shown: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        text, n = write(short(name)), 1
        while text in taken:
            n += 1
            text = f"{write(short(name))} ({n})"
        taken.add(text)
        shown[name] = text
    return shown


def optuna_study(
    plotted: PlottedTrials,
    chosen: Sequence[Target],
    params: Sequence[str],
    write: Writer,
    *,
    with_stopped: bool = True,
) -> OptunaStudy:
    """Returns the study that a plot of Optuna's shows.

    Args:
        plotted: Its trials.
        chosen: Its objectives.
        params: Names of the parameters that are shown.
        write: `hpo.report.plots.texts.plain` or ``escaped``.
        with_stopped: Trials that are not complete count as infeasible, beside those that are.
    """
    renamed = _Renamed(shown_names(params, write), write)
    found = []
    for value, trial in zip(plotted.values, plotted.trials, strict=True):
        params_of, distributions = renamed(trial)
        attrs: dict[str, Any] = {}
        if with_stopped:
            attrs = {k: v for k, v in trial.system_attrs.items() if k.startswith("constraints")}
            attrs |= {STOPPED: 1.0} if value.state != "COMPLETE" else {}
        found.append(
            FrozenTrial(
                number=trial.number,
                state=TrialState.COMPLETE,
                value=None,
                values=[value.values[target.index] for target in chosen],
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
                params=params_of,
                distributions=distributions,
                user_attrs={},
                system_attrs=attrs,
                intermediate_values={},
                trial_id=trial_id_of(trial),
            )
        )
    metrics = list(shown_names((target.metric for target in chosen), write).values())
    return OptunaStudy([target.direction for target in chosen], metrics, found)


class _Choice(str):
    """A choice that is shown without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Renamed:
    """Returns the params and distributions of trials, with their names and choices as shown."""

    def __init__(self, names: Mapping[str, str], write: Writer) -> None:
        self._names = names
        self._write = write
        self._known: dict[int, tuple[BaseDistribution, list[Any] | None]] = {}

    def __call__(self, trial: FrozenTrial) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for name, shown in self._names.items():
            if name not in trial.params:
                continue
            original, value = trial.distributions[name], trial.params[name]
            distribution, choices = self._distribution(original)
            if choices is not None:
                value = choices[int(original.to_internal_repr(value))]
            params[shown], distributions[shown] = value, distribution
        return params, distributions

    def _distribution(self, found: BaseDistribution) -> tuple[BaseDistribution, list[Any] | None]:
        if not isinstance(found, CategoricalDistribution):
            return found, None
        # By identity: trials share the objects of their distributions.
        known = self._known.get(id(found))
        if known is None:
            choices = self._choices(found.choices)
            known = self._known[id(found)] = (CategoricalDistribution(choices), choices)
        return known

    def _choices(self, choices: Sequence[Any]) -> list[Any]:
        if all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices):
            return list(choices)
        texts = list(map(str, choices))
        numbers = map(str, range(len(texts)))
        shown = shown_names(numbers, lambda i: self._write(cell(texts[int(i)], _LONGEST_CHOICE)))
        return [_Choice(text) for text in shown.values()]
