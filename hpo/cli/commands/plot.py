"""The command ``hpo plot``: writes plots of a study to files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, Group, OutputFile, storage_option, study_argument
from hpo.cli.output import writing
from hpo.errors import HpoError, SpecError
from hpo.report.study_queries import Subject, find
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = ("png", "svg", "pdf")
_N_TOLD_APART: Final = 6
_DOTS_PER_INCH: Final = 150
F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group)
def plot() -> None:
    """Draw learning curves, or the values of the trials."""


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
    from hpo.report import plots

    _write(plots.curves(subject, found, chosen), output or _default(subject, "curves"))


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
    from hpo.report import plots

    _write(plots.history(subject, found), output or _default(subject, "history"))


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


def _write(figure: Figure, path: Path) -> None:
    with writing(path):
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    say(f"wrote {path}")
