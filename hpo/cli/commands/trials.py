"""The commands ``hpo trials`` and ``hpo best``: the results of a study's trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import tomlkit
from rich.text import Text

from hpo.cli.messages import say, warn
from hpo.cli.options import (
    Command,
    NearestChoice,
    format_option,
    storage_option,
    study_argument,
)
from hpo.cli.output import console, emit, emit_one, pairs, show_lines, write
from hpo.cli.progress_view import is_in_epochs
from hpo.errors import HpoError
from hpo.report.study_queries import Subject, find
from hpo.report.text import formatting
from hpo.report.text.printable import cell, escaped, visible
from hpo.report.text.text_tables import TextColumn, by_key, exact, show
from hpo.report.trial_pages import SORTS, Page, TrialRow, best_trials, list_trials
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies.trial_states import STATES

N_SHOWN = 20
HEADER = (
    *("number", "state", "value", "epoch", "n_epochs", "best_epoch", "reason"),
    *("started_at", "ended_at", "duration_s"),
)


@click.command(cls=Command)
@study_argument
@storage_option
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Number of trials; by default {N_SHOWN} in a table and all in json and csv.",
)
@click.option(
    "--state",
    type=NearestChoice(STATES),
    multiple=True,
    help="Show only trials in this state; repeatable.",
)
@click.option(
    "--sort",
    type=NearestChoice(SORTS),
    default="number",
    show_default=True,
    help="Order; best: best value first; duration: longest first.",
)
@click.option("--all", "everything", is_flag=True, help="Show every trial and every column.")
@format_option()
def trials(
    name: str | None,
    storage: str | None,
    limit: int | None,
    state: Sequence[str],
    sort: str,
    everything: bool,
    form: str,
) -> None:
    """List the trials of a study."""
    db = open_database(storage)
    subject = find(db, name)
    if limit is None and form == "table" and not everything:
        limit = N_SHOWN
    # Read one more than shown, to know whether there are more.
    page = Page(sort, tuple(state), None if limit is None else limit + 1)
    rows = list_trials(db, subject, page)
    has_more = limit is not None and len(rows) > limit
    rows = rows[:limit]
    if form == "table" and not rows:
        say(
            f"{subject.name} has no trials in these states"
            if state
            else f"{subject.name}: no trials"
        )
        return
    records = [_record(row, subject) for row in rows]
    emit(form, _columns(rows, subject, everything), records, header=_header(subject))
    if has_more and form == "table":
        console().print(f" the first {limit}; --all shows every trial", style="dim")


@click.command(cls=Command)
@study_argument
@storage_option
@click.option(
    "--params", "only_params", is_flag=True, help="Show only its parameters, in a form to paste."
)
@click.option(
    "--artifacts", metavar="FOLDER", help="Folder of its files, if it is not the default one."
)
@format_option()
def best(
    name: str | None, storage: str | None, only_params: bool, artifacts: str | None, form: str
) -> None:
    """Show the best trial of a study, or the Pareto front of several objectives."""
    db = open_database(storage)
    subject = find(db, name)
    rows = best_trials(db, subject)
    if not rows:
        raise HpoError(
            f"{subject.name} has no complete trial yet", hint=f"see `hpo show {subject.name}`"
        )
    if len(subject.directions) > 1:
        if only_params:
            raise HpoError(
                f"{subject.name} has several objectives and {len(rows)} trials on the Pareto front",
                hint=f"see `hpo best {subject.name} -f json`",
            )
        records = [_record(row, subject) for row in rows]
        emit(form, _columns(rows, subject, everything=True), records, header=_header(subject))
        return
    if only_params:
        _print_params(rows[0], form)
        return
    files = _files(rows[0], subject, db, artifacts)
    record = {"study": subject.name, **_record(rows[0], subject, in_full=True), "model": None}
    if not emit_one(form, {**record, **files}):
        lines = [Text(line) for line in pairs({k: visible(v) for k, v in files.items() if v})]
        confirmed = _confirmed(db, subject)
        show_lines([*_sheet(rows[0], subject), *([Text(), *lines] if lines else ()), *confirmed])


def _confirmed(db: Database, subject: Subject) -> list[Text]:
    """Returns what the runs of the study's confirmation show, if it has one."""
    from hpo.report import confirmation

    found = confirmation.read(db, subject)
    return [] if found is None else [Text(), Text(f" {found.study}: {found.sentence}")]


def _files(
    row: TrialRow, subject: Subject, db: Database, artifacts: str | None
) -> dict[str, str | None]:
    """Returns what a trial left here: a task its model, a command its folder and its own line."""
    if subject.spec is None or subject.spec.command is None:
        return {"model": _model(row, subject, db, artifacts)}
    from hpo.run.files.artifacts import Artifacts
    from hpo.run.host.command_preflight import command_of, quoted
    from hpo.run.link.trial_seeds import seed_of

    folder = Artifacts.of(subject, db.url, artifacts).trial_folder(row.number)
    own = {
        "trial_dir": folder,
        "params_file": folder / "params.json",
        "seed": seed_of(db, subject.spec.seed, subject.study_id, row.number),
        "trial": row.number,
    }
    return {
        "folder": str(folder) if folder.is_dir() else None,
        "command": quoted(command_of(subject.spec, row.params, own)),
    }


def _model(row: TrialRow, subject: Subject, db: Database, artifacts: str | None) -> str | None:
    """Returns the path of a trial's model file on this machine."""
    if subject.spec is None or subject.spec.task is None:
        return None
    from hpo.run.files.artifacts import Artifacts

    path = Artifacts.of(subject, db.url, artifacts).model_here(row.number)
    if path is None:
        return None
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _print_params(row: TrialRow, form: str) -> None:
    if form == "table":
        nothing = [name for name, value in row.params.items() if value is None]
        if nothing:
            warn(f"left out {', '.join(nothing)}: TOML has no None; -f json shows it")
        write(
            escaped(
                tomlkit.dumps({k: v for k, v in row.params.items() if v is not None}), form="toml"
            )
        )
    elif not emit_one(form, row.params):
        raise AssertionError(form)


def _sheet(row: TrialRow, subject: Subject) -> list[Text]:
    where = f" at epoch {row.epoch}" if is_in_epochs(subject) and row.epoch else ""
    head = Text(f"{cell(subject.name, 100)} · trial {row.number} · ")
    head.append(f"{subject.metric} {formatting.number(row.value)}", style="bold green").append(
        where
    )
    if not row.is_complete:
        head.append(f" · stopped early after {row.n_epochs}; no trial was trained to the end")
        if is_in_epochs(subject) and row.best_epoch not in (None, row.epoch):
            head.append(f"; its best epoch was {row.best_epoch}")
    found = {**row.metrics, **row.test}
    params = {name: _exact(value) for name, value in row.params.items()}
    measured = {name: formatting.number(value) for name, value in found.items()}
    lines = [head]
    for entries in filter(None, (params, measured)):
        lines += [Text(), *(Text(line) for line in pairs(entries))]
    return lines


def _exact(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(exact(value)).strip('"')


def _record(row: TrialRow, subject: Subject, *, in_full: bool = False) -> dict[str, Any]:
    record: dict[str, Any] = {
        "number": row.number,
        "state": row.state,
        "value": row.value,
    }
    if len(subject.metrics) > 1:
        del record["value"]
        record["values"] = dict(zip(subject.metrics, row.values or (), strict=False))
    record |= {
        "epoch": row.epoch,
        "n_epochs": row.n_epochs,
        "best_epoch": row.best_epoch,
        "reason": row.reason,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "duration_s": row.duration_s,
        "params": dict(row.params),
        "user_attrs": dict(row.user_attrs),
    }
    if in_full:
        record |= {"metric": subject.metric, "metrics": dict(row.metrics), "test": row.test}
    return record


def _header(subject: Subject) -> list[str]:
    if len(subject.metrics) == 1:
        return list(HEADER)
    values = [f"values.{metric}" for metric in subject.metrics]
    return [name for part in HEADER for name in (values if part == "value" else [part])]


def _columns(rows: Sequence[TrialRow], subject: Subject, everything: bool) -> list[TextColumn]:
    columns = [by_key("number", "trial", right=True), by_key("state")]
    if len(subject.metrics) == 1:
        columns.append(by_key("value", subject.metric, right=True))
    else:
        columns += [_nested("values", metric, optional=False) for metric in subject.metrics]
    unit = "epochs" if is_in_epochs(subject) else "steps"
    columns.append(by_key("n_epochs", unit, right=True))
    columns.append(
        TextColumn(
            "time", lambda record: formatting.duration(record["duration_s"]), not everything, True
        )
    )
    if any(_reason(vars(row)) for row in rows):
        columns.append(TextColumn("reason", _reason, not everything))
    # Parameters that are equal in all of these trials do not distinguish them.
    for name in dict.fromkeys(name for row in rows for name in row.params):
        different = {str(row.params.get(name)) for row in rows}
        if everything or len(different) > 1 or len(rows) == 1:
            columns.append(_nested("params", name, optional=not everything))
    if everything:
        attrs = dict.fromkeys(name for row in rows for name in row.user_attrs)
        columns += [_nested("user_attrs", name, optional=False) for name in attrs]
    return columns


def _reason(record: Mapping[str, Any]) -> str:
    # The state already shows that it was pruned.
    return "" if record["reason"] in (None, "pruned") else str(record["reason"])


def _nested(table: str, name: str, *, optional: bool) -> TextColumn:
    def write(record: Any) -> str:
        value = record[table].get(name)
        if value is None and name in record[table]:
            # A choice; a parameter that does not apply is missing.
            return "None"
        return (
            formatting.param(value)
            if isinstance(value, float) and table == "params"
            else show(value)
        )

    return TextColumn(name, write, optional)
