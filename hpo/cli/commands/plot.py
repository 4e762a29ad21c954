"""The command ``hpo plot``: writes plots of a study to files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, Group, OutputFile, storage_option, study_argument
from hpo.cli.output import writing
from hpo.errors import HpoError, SpecError
from hpo.report.plots import rendering
from hpo.report.plots.chart import Chart
from hpo.report.plots.rendering import FORMATS
from hpo.report.study_queries import Subject, find
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database

_N_TOLD_APART: Final = 6
F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group)
def plot() -> None:
    """Draw a study: its values, curves, parameters."""


def _output_option(function: F) -> F:
    return click.option(
        "-o",
        "--output",
        type=OutputFile(FORMATS),
        metavar="FILE",
        help=f"File to write; its ending is the format: {', '.join(FORMATS)}; "
        "by default STUDY-PLOT.png.",
    )(function)


@plot.command(cls=Command)
@study_argument
@storage_option
@click.option(
    "--trial",
    "numbers",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="N",
    help=f"Show this trial in full instead of the best; repeatable, at most {_N_TOLD_APART}.",
)
@_output_option
def curves(
    name: str | None, storage: str | None, numbers: Sequence[int], output: Path | None
) -> None:
    """Plot training and validation metrics over the epochs.

    The best trial, or the trials of --trial, are shown in full. Behind them is the objective of
    the others.
    """
    from hpo.report.learning_curves import read_curves

    chosen = list(dict.fromkeys(numbers))
    if len(chosen) > _N_TOLD_APART:
        raise SpecError(
            f"a plot can show at most {_N_TOLD_APART} trials in full; found {len(chosen)}"
        )
    db = open_database(storage)
    subject = find(db, name)
    chosen = chosen or [_best(db, subject)]
    found = read_curves(db, subject, chosen)
    from hpo.report.plots import learning_charts

    _draw(learning_charts.curves(subject, found, chosen), output or _default(subject, "curves"))


@plot.command(cls=Command)
@study_argument
@storage_option
@_output_option
def history(name: str | None, storage: str | None, output: Path | None) -> None:
    """Plot the value of each trial, and the best one so far."""
    from hpo.report.learning_curves import read_values

    db = open_database(storage)
    subject = find(db, name)
    found = read_values(db, subject)
    if not found:
        raise _nothing_yet(subject)
    from hpo.report.plots import learning_charts

    _draw(learning_charts.history(subject, found), output or _default(subject, "history"))


@plot.command(cls=Command)
@study_argument
@storage_option
@_output_option
def timeline(name: str | None, storage: str | None, output: Path | None) -> None:
    """Plot which worker trained which trial when, with attempts and lost workers.

    Of a large study the last 400 trials are shown.
    """
    from hpo.report.plots import work_log
    from hpo.report.plots.timeline import timeline as chart

    db = open_database(storage)
    subject = find(db, name)
    log = work_log.read_work_log(db, subject)
    _draw(chart(subject, log), output or _default(subject, "timeline"))


@plot.command(cls=Command)
@study_argument
@storage_option
@_output_option
def budget(name: str | None, storage: str | None, output: Path | None) -> None:
    """Plot the epochs that were spent and the trials that ended, over time."""
    from hpo.report.plots import budget_chart, spending_log

    db = open_database(storage)
    subject = find(db, name)
    log = spending_log.read_spending(db, subject)
    _draw(budget_chart.budget(subject, log), output or _default(subject, "budget"))


def _optuna_plot(kind: str, about: str, *, has_params: bool = True) -> None:
    """Adds the command of one of Optuna's plots."""

    def draw(
        name: str | None,
        storage: str | None,
        metrics: Sequence[str],
        output: Path | None,
        params: Sequence[str] = (),
    ) -> None:
        db = open_database(storage)
        subject = find(db, name)
        path = output or _default(subject, kind)
        form = _form(path)
        _write(rendering.optuna_plot(db, subject, kind, form, metrics=metrics, params=params), path)

    draw.__doc__ = about
    params_option = click.option(
        "--param",
        "params",
        multiple=True,
        metavar="NAME",
        help="Parameter to show; repeatable. By default the most important ones.",
    )
    target_option = click.option(
        "--target",
        "metrics",
        multiple=True,
        metavar="METRIC",
        help="Objective to show, of a study with several.",
    )
    command = _output_option(draw)
    command = params_option(command) if has_params else command
    plot.command(kind, cls=Command)(study_argument(storage_option(target_option(command))))


_optuna_plot(
    "importance",
    """Plot how much each parameter decides which trials are the best.

    Computed by PED-ANOVA from at most 3,000 trials, stopped ones included.
    """,
)
_optuna_plot(
    "parallel",
    """Plot each trial as a line through its parameters and its value.

    Of more than 300 trials the best are shown, and a sample of the others.
    """,
)
_optuna_plot(
    "slice",
    """Plot the values of the trials over each parameter.

    Trials that were stopped early are grey, with the last value that they reported.
    """,
)
_optuna_plot("contour", "Plot the values of the trials over pairs of parameters, interpolated.")
_optuna_plot("rank", "Plot the trials over pairs of parameters, coloured by rank.")
_optuna_plot(
    "pareto",
    """Plot the trials of a study with two or three objectives, and their Pareto front.

    --target chooses among more objectives.
    """,
    has_params=False,
)


def _best(db: Database, subject: Subject) -> int:
    """Returns the number of the trial to show: the best, or the first on the Pareto front."""
    from hpo.report.trial_pages import Page, best_trials, list_trials

    rows = best_trials(db, subject)
    rows = rows or [row for row in list_trials(db, subject, Page("best")) if row.n_epochs]
    if not rows:
        raise _nothing_yet(subject)
    return rows[0].number


def _nothing_yet(subject: Subject) -> HpoError:
    return HpoError(
        f"{subject.name} has nothing to plot yet", hint=f"see `hpo show {subject.name}`"
    )


def _default(subject: Subject, kind: str) -> Path:
    # A study's name may contain characters that a file name cannot.
    return Path(re.sub(r"[^\w.-]+", "-", subject.name)[:100] + f"-{kind}.png")


def _draw(chart: Chart, path: Path) -> None:
    _write(rendering.chart_plot(chart, _form(path)), path)


def _form(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _write(content: bytes, path: Path) -> None:
    with writing(path):
        path.write_bytes(content)
    say(f"wrote {path}")
