"""The commands ``hpo pause``, ``resume``, ``stop``, ``cancel``, ``retry`` and ``enqueue``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, NearestChoice, storage_option
from hpo.spec.space.points import read_point, split_entries
from hpo.spec.values.findings import Findings
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import spending
from hpo.store.rows import worker_list
from hpo.store.studies import control, queueing, study_records
from hpo.store.studies.control import Verb
from hpo.store.studies.study_records import StudyRecord

REASONS = ("oom", "nan", "user_code", "internal", "timeout", "lost", "cancelled")
N_LISTED = 8
_EFFECTS: dict[Verb, str] = {
    "pause": "running trials are suspended at their next epoch, and workers wait",
    "stop": "running trials end at their next epoch, and workers exit",
    "resume": "",
}

_name = click.argument("name", metavar="STUDY")
_numbers = click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=click.IntRange(min=0))


@click.command(cls=Command)
@_name
@storage_option
def pause(name: str, storage: str | None) -> None:
    """Suspend a study's running trials and start no new ones until it is resumed.

    Each trial resumes later from where it was suspended. Workers stay and wait. An Optuna
    objective cannot be suspended: its running trials finish.
    """
    _steer(storage, name, "pause")


@click.command(cls=Command)
@_name
@storage_option
def resume(name: str, storage: str | None) -> None:
    """Resume a study that was paused or stopped.

    A study whose budget is spent is done: `hpo update` raises the budget.
    """
    _steer(storage, name, "resume")


@click.command(cls=Command)
@_name
@storage_option
def stop(name: str, storage: str | None) -> None:
    """End a study's running trials at their next epoch, and start no new ones.

    Workers exit. `hpo resume` and `hpo run` resume the study.
    """
    _steer(storage, name, "stop")


@click.command(cls=Command)
@_name
@_numbers
@storage_option
def cancel(name: str, numbers: tuple[int, ...], storage: str | None) -> None:
    """Cancel running or waiting trials now: those with a NUMBER, or all.

    They become FAIL with the reason cancelled, and the budget of trials does not count them. A
    worker that trains one of them stops it.
    """
    db, record = open_study(storage, name)
    cancelled = control.cancel(db, record.study_id, numbers)
    if not cancelled:
        say(f"{name}: no trial is running or waiting")
        return
    say(f"{name}: cancelled {listed(cancelled)}")


@click.command(cls=Command)
@_name
@_numbers
@click.option(
    "--reason",
    "reasons",
    type=NearestChoice(REASONS),
    multiple=True,
    help=f"Only trials that failed for this reason: {', '.join(REASONS)}; repeatable.",
)
@storage_option
def retry(
    name: str, numbers: tuple[int, ...], reasons: tuple[str, ...], storage: str | None
) -> None:
    """Enqueue failed trials again: those with a NUMBER, or all except cancelled ones.

    Each becomes a new trial with the same parameters, which takes the failed trial's place in the
    budget. The user attribute retried_from of the new trial holds the number of the failed one.
    """
    db, record = open_study(storage, name)
    pairs = queueing.retry(db, record.study_id, numbers, reasons)
    if not pairs:
        why = f" for {' or '.join(reasons)}" if reasons else ""
        say(f"{name}: no failed trial{why} is left to retry")
        return
    if len(pairs) > N_LISTED:
        told = f"{len(pairs)} trials are enqueued again"
    else:
        told = "enqueued again: " + ", ".join(f"trial {old} as {new}" for old, new in pairs.items())
    say(f"{name}: {told}{_next_step(db, name)}")


@click.command(cls=Command)
@_name
@click.argument("values", metavar="PARAMETER=VALUE...", nargs=-1, required=True)
@click.option(
    "-n", "--n", "n", type=click.IntRange(min=1), default=1, metavar="N", help="How many trials."
)
@storage_option
def enqueue(name: str, values: tuple[str, ...], n: int, storage: str | None) -> None:
    """Enqueue a trial with given parameters; the sampler draws the others.

    It starts before any other new trial, and counts against the budget of trials.
    """
    db, record = open_study(storage, name)
    findings = Findings()
    texts = split_entries(values, findings)
    if record.spec.objective is None:
        params = read_point(texts, record.spec.space, findings)
    else:
        from hpo.cli.enqueued_params import read_for_objective

        known = queueing.known_distributions(db, record.study_id)
        params = read_for_objective(texts, record.spec.space, known, findings)
    findings.raise_if_any("what to enqueue")
    added = queueing.enqueue(db, record.study_id, params, n)
    verb = "waits" if len(added) == 1 else "wait"
    given = ", ".join(f"{key} = {value}" for key, value in params.items())
    say(f"{name}: {listed(added)} {verb} to start with {given}{_next_step(db, name)}")


def open_study(storage: str | None, name: str) -> tuple[Database, StudyRecord]:
    """Opens the database and finds a study of hpo in it.

    Raises:
        StoreError: No study has this name, or the database cannot be used.
    """
    db = open_database(storage)
    return db, study_records.load(db, name)


def listed(numbers: Sequence[int]) -> str:
    """Writes ``trial 5``, ``trials 5, 6 and 9``, or only how many if the list is long."""
    if len(numbers) > N_LISTED:
        return f"{len(numbers)} trials"
    *others, last = (str(number) for number in numbers)
    return f"trials {', '.join(others)} and {last}" if others else f"trial {last}"


def _steer(storage: str | None, name: str, verb: Verb) -> None:
    db, record = open_study(storage, name)
    before = control.steer(db, record.study_id, verb)
    after = study_records.load(db, name).state
    if before == after:
        say(f"{name} is already {after}")
        return
    if after == "done":
        say(f"{name} has nothing left to do{_next_step(db, name)}")
        return
    effect = f": {_EFFECTS[verb]}" if _EFFECTS[verb] else ""
    say(f"{name} is {after}{effect}{_next_step(db, name)}")


def _next_step(db: Database, name: str) -> str:
    """Returns what the user must do before trials of the study run, if anything."""
    record, quoted = study_records.load(db, name), shlex.quote(name)
    more = spending.extension_command(db, record.study_id)
    if record.state == "stopped" and more:
        return f"; its budget is spent: `{more}` raises it"
    if record.state in ("paused", "stopped"):
        return f"; `hpo resume {quoted}` resumes it"
    if record.state == "done" and record.reason == "exhausted":
        return "; the study is done (exhausted): every point of the search space was tried"
    if record.state == "done":
        more = more or f"hpo update {quoted}"
        return f"; the study is done ({record.reason}): `{more}` raises its budget"
    if not worker_list.live(db, record.study_id):
        return f"; it has no workers: `hpo run {quoted}` starts some"
    return ""
