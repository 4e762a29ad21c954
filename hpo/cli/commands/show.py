"""The commands ``hpo ls`` and ``hpo show``: the studies of a database."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import click
from rich.text import Text

from hpo.cli.messages import say, warn
from hpo.cli.options import Command, format_option, storage_option, study_argument
from hpo.cli.output import console, emit, emit_one, show_lines
from hpo.errors import HpoError
from hpo.report.study_list import StudyRow, list_studies
from hpo.report.study_queries import Subject, find
from hpo.report.text import formatting
from hpo.report.text.text_tables import by_key, print_table
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database

COLUMNS = (
    by_key("name"),
    by_key("state"),
    by_key("trials"),
    by_key("best"),
    by_key("metric"),
    by_key("workers", optional=True),
    by_key("updated", optional=True),
)
HEADER = (
    *("name", "state", "n_finished", "n_trials", "complete", "pruned", "failed", "running"),
    *(
        "waiting",
        "paused",
        "best",
        "best_state",
        "metric",
        "direction",
        "n_workers",
        "created_at",
        "updated_at",
    ),
    "fault",
)


@click.command(cls=Command)
@storage_option
@format_option()
def ls(storage: str | None, form: str) -> None:
    """List the studies of a database, including those created with Optuna."""
    db = open_database(storage)
    rows, now = list_studies(db)
    if form == "table" and not rows:
        say(f"{db.masked_url} holds no study; start one with `hpo run STUDY.toml`")
        return
    for row in rows:
        if row.subject.fault:
            warn(row.subject.fault)
    shown = [_shown(row, now) for row in rows]
    emit(form, COLUMNS, [_record(row) for row in rows], header=HEADER, shown=shown)


@click.command(cls=Command)
@study_argument
@storage_option
@click.option(
    "--outlook", "with_outlook", is_flag=True, help="Estimate what more trials would bring."
)
@click.option(
    "--trial",
    "number",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show this trial: its params, curve and workers, why it was begun and why it ended.",
)
@format_option(("table", "json"))
def show(
    name: str | None, storage: str | None, with_outlook: bool, number: int | None, form: str
) -> None:
    """Show a study: its search, budget and workers, and what failed and why.

    With --trial, show one trial; of one that failed, the whole traceback.
    """
    if number is not None:
        _show_trial(name, storage, number, form)
        return
    # They load the reader of specs, which `hpo ls` does not need.
    from hpo.cli.study_page import record, sheet
    from hpo.report.overview import NO_OUTLOOK, overview

    db = open_database(storage)
    page = overview(db, find(db, name))
    if with_outlook:
        # Only with --outlook: it loads PyTorch and fits a model.
        from hpo.report.study_forecast import outlook

        page = dataclasses.replace(page, outlook=outlook(db, page.subject) or NO_OUTLOOK)
    files = _files(db, page.subject)
    if not emit_one(form, {**record(page), "files": files}):
        show_lines(sheet(page, db.masked_url))
        if files is not None:
            say()
            is_of_task = page.subject.spec is not None and page.subject.spec.task is not None
            is_command = page.subject.spec is not None and page.subject.spec.command is not None
            models = "models of the best trial, " if is_of_task else ""
            models = "a folder of each trial, " if is_command else models
            say(f"files in {files}: {models}logs of the workers")


def _show_trial(name: str | None, storage: str | None, number: int, form: str) -> None:
    from hpo.cli import trial_page
    from hpo.report.trials.trial_report import trial_report

    db = open_database(storage)
    report = trial_report(db, find(db, name), number)
    if emit_one(form, trial_page.record(report)):
        return
    show_lines(trial_page.sheet(report))
    columns, rows = trial_page.curve(report)
    if rows:
        show_lines([Text(), Text("curve", style="bold")])
        print_table(console(), columns, rows)
        if n_hidden := len(report.epochs) - len(rows):
            say(f" {n_hidden} more epochs: -f json")
    show_lines(trial_page.history(report))
    if report.traceback is not None:
        say()
        # As Python prints it: lines are neither wrapped nor indented.
        console().print(Text(report.traceback.rstrip()), soft_wrap=True)
    say()
    say(f"output: hpo logs {report.subject.name} {number}")


def _files(db: Database, subject: Subject) -> str | None:
    """Returns the default folder of a study's files, if it exists."""
    from hpo.run.files.artifacts import Artifacts, FilesOwner
    from hpo.store.studies import renaming

    if subject.spec is None:
        return None
    try:
        with db.read() as conn:
            name = renaming.files_of(conn, subject.study_id, subject.name)
        folder = Artifacts.of(FilesOwner(name, subject.created_at), db.url).folder
        return str(folder) if folder.is_dir() else None
    except (HpoError, OSError):
        # Commands that need the files report errors of their folder.
        return None


def _record(row: StudyRow) -> dict[str, Any]:
    subject, counts = row.subject, row.counts
    return {
        "name": subject.name,
        "state": subject.state,
        "n_finished": counts.finished,
        "n_trials": subject.n_trials,
        **vars(counts),
        "best": row.best,
        "best_state": row.best_state,
        "metric": list(subject.metrics),
        "direction": list(subject.directions),
        "n_workers": row.n_workers,
        "created_at": subject.created_at,
        "updated_at": row.updated_at,
        "fault": subject.fault or None,
    }


def _shown(row: StudyRow, now: datetime.datetime) -> dict[str, Any]:
    subject = row.subject
    if subject.fault:
        return {"name": subject.name, "state": "unreadable"}
    return {
        "name": subject.name,
        "state": subject.state,
        "trials": formatting.trials(row.counts.finished, subject.n_trials, subject.budget),
        "best": f"{formatting.number(row.best)} (stopped)"
        if row.best_state == "PRUNED"
        else row.best,
        "metric": subject.metric,
        "workers": row.n_workers,
        "updated": formatting.ago(row.updated_at, now),
    }
