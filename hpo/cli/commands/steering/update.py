"""The command ``hpo update``: changes a study's budget, even while it runs."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import click

from hpo.cli.commands.steering.orders import open_study
from hpo.cli.messages import say
from hpo.cli.options import Command, F, storage_option
from hpo.errors import SpecError
from hpo.report.text import formatting
from hpo.report.text.formatting import NO_LIMIT
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db.database import Database
from hpo.store.rows import worker_list
from hpo.store.studies import study_budgets
from hpo.store.studies.study_records import StudyRecord

ENDS = ("trials", "total_epochs", "hours", "target")
_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_HOUR = datetime.timedelta(hours=1)


class Limit(click.ParamType[Any]):
    """A number, or ``none`` for no limit."""

    name = "limit"

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self._inner = inner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the number, or `NO_LIMIT`."""
        if str(value).lower() == NO_LIMIT:
            return NO_LIMIT
        return self._inner.convert(value, param, ctx)


def _limit(name: str, inner: click.ParamType[Any], metavar: str, what: str) -> Callable[[F], F]:
    return click.option(name, type=Limit(inner), metavar=f"{metavar}|{NO_LIMIT}", help=what)


@click.command(cls=Command)
@click.argument("name", metavar="STUDY")
@_limit("--trials", click.IntRange(min=1), "N", "Number of trials of the study.")
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="N", help="Maximum epochs of a trial."
)
@_limit("--total-epochs", click.IntRange(min=1), "N", "Maximum epochs of all trials together.")
@_limit(
    "--hours", click.FloatRange(min=0, min_open=True), "H", "Maximum hours since the study began."
)
@_limit("--trial-hours", click.FloatRange(min=0, min_open=True), "H", "Maximum hours of a trial.")
@_limit("--target", click.FLOAT, "VALUE", "Value of the metric that is good enough.")
@_limit(
    "--patience", click.IntRange(min=1), "N", "Trials in a row that do not improve the best value."
)
@click.option(
    "--deadline",
    metavar=f"TIME|{NO_LIMIT}",
    help="Time at which the study ends: +2h from now, 18:00, or 2031-05-01T18:00, in local time.",
)
@storage_option
def update(name: str, deadline: str | None, storage: str | None, **given: Any) -> None:
    """Raise or lower a study's budget, even while it runs.

    Workers follow at once: trials that have not started count against the new budget. A study that
    is done resumes if the new budget leaves something to do. A running study ends if it leaves
    nothing.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    if deadline is not None and "hours" in changes:
        raise SpecError("give --hours or --deadline, not both: each sets the end")
    if deadline is None and not changes:
        raise SpecError("say what to update: --trials, --epochs, --total-epochs, --hours, ...")
    db, record = open_study(storage, name)
    if deadline is not None:
        changes["hours"] = _hours(db, record, deadline)
    before, after = study_budgets.change(
        db, record.study_id, lambda study: changed(study.spec, changes)
    )
    say(f"{name}: {_told(before, after)}{_outcome(db, before, after)}")


def changed(spec: StudySpec, changes: Mapping[str, Any]) -> Budget:
    """Returns a study's budget with some entries changed; `NO_LIMIT` removes one.

    Raises:
        SpecError: The study would never end, or an entry is invalid.
    """
    table = {**spec.budget.to_table(), **changes}
    budget = Budget(**{key: value for key, value in table.items() if value != NO_LIMIT})
    if all(getattr(budget, name) is None for name in ENDS):
        raise SpecError(f"{spec.name} would never end; set one of {', '.join(ENDS)}")
    return budget


def parse_deadline(given: str, now: datetime.datetime) -> datetime.datetime:
    """Reads a time from the command line: ``+2h``, ``18:00``, ``2031-05-01T18:00``.

    Args:
        given: A time without an offset is local; one without a date is the next such time.
        now: Naive UTC.

    Returns:
        Naive UTC.

    Raises:
        SpecError: It is not a time.
    """
    ahead = re.fullmatch(r"\+\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)", given.strip())
    if ahead:
        seconds = float(ahead[1]) * _UNITS_S[ahead[2]]
        return now + datetime.timedelta(seconds=seconds)
    local_now = now.replace(tzinfo=datetime.UTC).astimezone()
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", given.strip()):
            clock = datetime.time.fromisoformat(given.strip().zfill(5))
            moment = datetime.datetime.combine(local_now.date(), clock)
            if moment <= local_now.replace(tzinfo=None):
                moment += datetime.timedelta(days=1)
        else:
            moment = datetime.datetime.fromisoformat(given.strip())
        return moment.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise SpecError(
            f"--deadline {given!r} is not a time; write +2h, 18:00 or 2031-05-01T18:00"
        ) from None


def hours_until(deadline: datetime.datetime, created_at: datetime.datetime) -> float:
    """Returns a deadline as a study's hours, which count from its creation.

    Raises:
        SpecError: It is before the study began.
    """
    hours = (deadline - created_at) / _HOUR
    if hours <= 0:
        raise SpecError(f"the deadline {deadline:%Y-%m-%d %H:%M} UTC is before the study began")
    return hours


def _hours(db: Database, record: StudyRecord, deadline: str) -> float | str:
    if deadline.lower() == NO_LIMIT:
        return NO_LIMIT
    with db.read() as conn:
        now = db.now(conn)
    return hours_until(parse_deadline(deadline, now), record.created_at)


def _told(before: StudyRecord, after: StudyRecord) -> str:
    old, new = before.budget, after.budget
    changes = [
        f"{name.replace('_', ' ')} {formatting.limit(held)} -> {formatting.limit(holds)}"
        for name, held in old
        if held != (holds := getattr(new, name))
    ]
    until = ""
    if after.deadline_at != before.deadline_at and after.deadline_at is not None:
        until = f" (until {after.deadline_at:%Y-%m-%d %H:%M} UTC)"
    return ", ".join(changes) + until if changes else "the budget is unchanged"


def _outcome(db: Database, before: StudyRecord, after: StudyRecord) -> str:
    if after.state == "done":
        return f"; it is done ({after.reason})"
    if before.state == "done":
        helped = worker_list.live(db, after.study_id)
        return "; it resumes" + ("" if helped else f": `hpo run {shlex.quote(after.name)}`")
    quoted = shlex.quote(after.name)
    return (
        ""
        if after.state == "active"
        else f"; it is {after.state}: `hpo resume {quoted}` resumes it"
    )
