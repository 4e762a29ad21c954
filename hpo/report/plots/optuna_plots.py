"""Optuna's plots of a study: importance, parallel, slice, contour, rank and pareto.

Optuna draws them, with matplotlib or with plotly. What it is given is chosen so that a plot is
quick to draw and can be read: a sample of the trials, and the most important parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from hpo.errors import HpoError, SpecError, did_you_mean
from hpo.report.plots import importance
from hpo.report.plots.optuna_study import (
    OptunaStudy,
    optuna_study,
    quiet,
    shown_names,
)
from hpo.report.plots.plotted_trials import PlottedTrials, Target, read_plotted, targets
from hpo.report.plots.texts import escaped, plain, short
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database

Library = Literal["matplotlib", "plotly"]


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes:
        function: Optuna's function, which both of its modules of plots have.
        title: What it shows; ``{}`` is the objective.
        n_trials: Maximum number of trials that it shows.
        n_params: Maximum number of parameters that it shows without being asked for them.
        fewest_params: Number of varying parameters that it needs.
        is_grid: It has a panel for each pair of parameters.
        with_stopped: It tells trials that are not complete from those that are.
    """

    function: str
    title: str
    n_trials: int
    n_params: int = 12
    fewest_params: int = 1
    is_grid: bool = False
    with_stopped: bool = False


# The numbers of trials bound the size of an HTML page and the seconds that a browser needs for it:
# parallel has a line for each trial, contour a matrix of all pairs of values.
KINDS: Final = {
    "importance": Kind("plot_param_importances", "importance for {}", importance.MOST_TRIALS),
    "parallel": Kind("plot_parallel_coordinate", "parameters and {}", 300, with_stopped=True),
    "slice": Kind("plot_slice", "{} by parameter", 1_500, with_stopped=True),
    "contour": Kind("plot_contour", "{} over pairs of parameters", 150, 3, 2, is_grid=True),
    "rank": Kind("plot_rank", "rank of {} over pairs of parameters", 500, 3, 2, is_grid=True),
    "pareto": Kind("plot_pareto_front", "Pareto front of {}", 2_000, 0, 0),
}
_MOST_AXES = 3


@dataclass(frozen=True)
class Content:
    """What one of Optuna's plots shows.

    Attributes:
        kind: One of `KINDS`.
        study: The trials, with names as they are shown.
        params: Parameters, as their names are shown.
        metrics: Objectives, as their names are shown.
        title: Title of the plot.
        summary: The trials that it shows, as text.
        has_stopped: Some of its trials are not complete.
        shares: Of the plot importance: share of each parameter, for each objective.
    """

    kind: str
    study: OptunaStudy
    params: tuple[str, ...]
    metrics: tuple[str, ...]
    title: str
    summary: str
    has_stopped: bool
    shares: tuple[Mapping[str, float], ...] = ()


def content(
    db: Database,
    subject: Subject,
    name: str,
    library: Library,
    *,
    metrics: Sequence[str] = (),
    params: Sequence[str] = (),
) -> Content:
    """Reads what a plot shows.

    Args:
        db: The database.
        subject: The study.
        name: One of `KINDS`.
        library: The library that draws it.
        metrics: Names of the objectives; by default all for importance, parallel and pareto, and
            the first for the others.
        params: Names of the parameters; by default the most important ones.

    Raises:
        SpecError: The study has no such objective or parameter.
        HpoError: It has nothing that this plot can show.
    """
    kind = KINDS[name]
    chosen = _targets(subject, name, metrics)
    plotted = _read(db, subject, name, chosen)
    write = plain if library == "matplotlib" else escaped
    shown = _params(plotted, subject, kind, chosen[0], params)
    names = shown_names(shown, write)
    metric_names = shown_names((target.metric for target in chosen), write)
    listed = " and ".join(metric_names.values())
    shares: list[Mapping[str, float]] = []
    if name == "importance":
        found = [importance.importance_of(plotted, subject, target).shares for target in chosen]
        # All objectives in one order: Optuna labels the bars of all by the order of the last.
        shares = [
            {names[key]: each.get(key, 0.0) for key in found[0] if key in names} for each in found
        ]
    n_left = len(importance.varying(plotted)) - len(shown)
    left = f"; the {len(shown)} most important parameters" if n_left > 0 and not params else ""
    return Content(
        kind=name,
        study=optuna_study(plotted, chosen, shown, write, with_stopped=kind.with_stopped),
        params=tuple(names.values()),
        metrics=tuple(metric_names.values()),
        title=f"{write(short(subject.name))}: {kind.title.format(listed)}",
        summary=plotted.summary("grey" if name == "slice" else "")
        + (left if kind.n_params else ""),
        has_stopped=plotted.n_stopped > 0,
        shares=tuple(shares),
    )


def draw(shown: Content, library: Library) -> Any:
    """Lets Optuna draw a plot.

    Returns:
        Plotly's figure, or matplotlib's axes.
    """
    with quiet():
        import optuna.visualization as plotly_plots
        import optuna.visualization.matplotlib as matplotlib_plots

        module: Any = matplotlib_plots if library == "matplotlib" else plotly_plots
        return getattr(module, KINDS[shown.kind].function)(shown.study, **_options(shown))


def _options(shown: Content) -> dict[str, Any]:
    if shown.kind == "pareto":
        return {"target_names": list(shown.metrics)}
    options: dict[str, Any] = {"params": list(shown.params)}
    if len(shown.metrics) == 1:
        options["target_name"] = shown.metrics[0]
    if shown.kind == "importance":
        options["evaluator"] = importance.given(shown.shares)
    return options


def _targets(subject: Subject, name: str, metrics: Sequence[str]) -> tuple[Target, ...]:
    chosen = targets(subject, metrics)
    if name == "pareto":
        if len(subject.metrics) < 2:
            raise HpoError(
                f"{subject.name} has one objective, {subject.metrics[0]}; a Pareto front needs two",
                hint=f"`hpo plot history {subject.name}` shows its values",
            )
        if not 2 <= len(chosen) <= _MOST_AXES:
            raise SpecError(
                f"a Pareto front has 2 or {_MOST_AXES} axes; found {len(chosen)} objectives",
                hint=f"choose them with --target: {', '.join(subject.metrics)}",
            )
        return chosen
    if name in ("importance", "parallel"):
        return chosen
    if len(metrics) > 1:
        raise SpecError(f"plot {name} shows one objective; found {len(chosen)}")
    return chosen[:1]


def _read(db: Database, subject: Subject, name: str, chosen: tuple[Target, ...]) -> PlottedTrials:
    kind = KINDS[name]
    if name == "importance":
        return read_plotted(db, subject, chosen, kind.n_trials, with_far=True, spread=True)
    return read_plotted(db, subject, chosen, kind.n_trials, with_front=name == "pareto")


def _params(
    plotted: PlottedTrials, subject: Subject, kind: Kind, target: Target, names: Sequence[str]
) -> list[str]:
    if not kind.n_params:
        return []
    known = list(dict.fromkeys(name for trial in plotted.trials for name in trial.params))
    for name in names:
        if name not in known:
            raise SpecError(
                f"no trial of {subject.name} has a parameter {name!r}{did_you_mean(name, known)}",
                hint=f"its parameters: {', '.join(known)}",
            )
    chosen = list(dict.fromkeys(names))
    chosen = chosen or importance.most_important(plotted, subject, target, kind.n_params)
    n_varying = len(set(importance.varying(plotted)) & set(chosen))
    if len(chosen) < kind.fewest_params or (kind.is_grid and n_varying < kind.fewest_params):
        raise HpoError(
            f"this plot needs at least {kind.fewest_params} parameter"
            f"{'s' * (kind.fewest_params > 1)} that vary between the trials of {subject.name}; "
            f"found {n_varying}"
        )
    return chosen
