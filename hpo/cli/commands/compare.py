"""The command ``hpo compare``: studies of one metric side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, OutputFile, complete_study, format_option, storage_option
from hpo.cli.output import emit, writing
from hpo.errors import SpecError
from hpo.report.comparison.study_comparison import Contestant
from hpo.report.comparison.study_comparison import compare as compare_studies
from hpo.report.study_queries import find
from hpo.report.text import formatting
from hpo.report.text.text_tables import TextColumn, by_key
from hpo.store.db.opening import open_database

FORMATS = ("png", "svg", "pdf")
_DOTS_PER_INCH = 150


@click.command(cls=Command)
@click.argument("names", metavar="STUDY...", nargs=-1, required=True, shell_complete=complete_study)
@storage_option
@click.option(
    "-o",
    "--output",
    type=OutputFile(FORMATS),
    metavar="FILE",
    help=f"Also draw the best value over trials, epochs and hours: {', '.join(FORMATS)}.",
)
@format_option()
def compare(names: Sequence[str], storage: str | None, output: Path | None, form: str) -> None:
    """Compare studies of one metric: what each has reached, and after how much work.

    The last column compares after an equal number of trials: as many as the study with the fewest
    has ended.
    """
    named = list(dict.fromkeys(names))
    if len(named) < 2:
        raise SpecError("name two studies or more to compare")
    db = open_database(storage)
    found = compare_studies(db, [find(db, name) for name in named])
    records = [_record(one, found.n_equal) for one in found.contestants]
    subject = found.contestants[0].subject
    if form == "csv":
        records = [{k: v for k, v in record.items() if k != "improvements"} for record in records]
    emit(form, _columns(subject.metric, found.n_equal), records)
    if output is None:
        return
    from hpo.report.comparison.comparison_plot import comparison_plot

    figure = comparison_plot(found)
    with writing(output):
        figure.savefig(output, dpi=_DOTS_PER_INCH)
    say(f"wrote {output}", err=form != "table")


def _record(one: Contestant, n_equal: int) -> dict[str, Any]:
    best = one.best
    return {
        "study": one.subject.name,
        "state": one.subject.state,
        "metric": one.subject.metric,
        "direction": one.subject.direction,
        "n_finished": one.counts.finished,
        "n_complete": one.counts.complete,
        "n_epochs": one.n_epochs,
        "hours": one.hours,
        "best": None if best is None else best.value,
        "best_trial": None if best is None else best.number,
        "trials_to_best": None if best is None else best.trials,
        "epochs_to_best": None if best is None else best.epochs,
        "hours_to_best": None if best is None else best.hours,
        "equal_trials": n_equal,
        "best_of_equal_trials": one.best_of_equal,
        "improvements": [each._asdict() for each in one.improvements],
    }


def _columns(metric: str, n_equal: int) -> list[TextColumn]:
    return [
        by_key("study"),
        by_key("state", optional=True),
        _count("n_finished", "trials"),
        _count("n_epochs", "epochs"),
        TextColumn("time", lambda row: formatting.duration(3600 * row["hours"]), True, True),
        by_key("best", f"best {metric}", right=True),
        by_key("best_trial", "trial", optional=True, right=True),
        by_key("best_of_equal_trials", f"of the first {formatting.count(n_equal)}", right=True),
        _count("trials_to_best", "after trials", optional=True),
        _count("epochs_to_best", "after epochs", optional=True),
        TextColumn("after", _time_to_best, True, True),
    ]


def _count(key: str, header: str, *, optional: bool = False) -> TextColumn:
    def shown(row: Any) -> str:
        return "-" if row[key] is None else formatting.count(row[key])

    return TextColumn(header, shown, optional, True)


def _time_to_best(row: Any) -> str:
    hours = row["hours_to_best"]
    return formatting.duration(None if hours is None else 3600 * hours)
