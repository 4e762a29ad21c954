"""Control of a running study: pause, resume, stop, cancel.

Each is one short transaction that holds the study's lock. Workers follow at their next claim,
report or heartbeat, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import HpoError, Problem, SpecError
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger import fences, spending
from hpo.store.ledger.leases import StudyState
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import study_rows, trial_rows
from hpo.store.rows.events import Event

Verb: TypeAlias = Literal["pause", "resume", "stop"]
_OPEN = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class _Transition:
    """From which states a verb leads to which."""

    to: StudyState
    from_: tuple[StudyState, ...]


_TRANSITIONS: Mapping[Verb, _Transition] = {
    "pause": _Transition("paused", ("active",)),
    "resume": _Transition("active", ("paused", "stopped")),
    "stop": _Transition("stopped", ("active", "paused")),
}


def steer(db: Database, study_id: int, verb: Verb) -> StudyState:
    """Pauses, resumes or stops a study.

    A paused study hands out no trials; workers suspend theirs and wait. A stopped study lets
    running trials end at their next epoch, and workers leave. Resuming works also for a study that
    has stopped itself: its failures so far no longer count. A resumed study that has nothing left
    to do is done.

    Returns:
        The state that the study was in; the one it is in now where the verb changes nothing.

    Raises:
        HpoError: The verb does not apply to the study's state.
        StoreError: There is no such study.
    """
    transition = _TRANSITIONS[verb]

    def work(conn: sa.Connection) -> StudyState:
        locked = LockedStudy.lock(db, conn, study_id)
        before = cast(StudyState, locked.state)
        if before == transition.to:
            return before
        if before not in transition.from_:
            name, why = (
                study_rows.name_of(conn, study_id),
                f" ({locked.reason})" * bool(locked.reason),
            )
            more = spending.extension_command_of(locked) or f"hpo update {name}"
            has_more = before == "done" and locked.reason != "exhausted"
            hint = f"`{more}` gives it more to do" if has_more else None
            raise HpoError(f"{name} is {before}{why}; there is nothing to {verb}", hint=hint)
        locked.state, locked.reason = transition.to, None
        locked.update_study(state=transition.to, reason=None, updated_at=locked.now)
        locked.record([Event(study_id, transition.to)])
        if verb == "resume" and not _leases(locked):
            # With a lease, the worker that continues the trial finds how the study ends.
            spending.finish_if_spent(locked)
        return before

    return db.transaction(work)


def cancel(db: Database, study_id: int, numbers: Collection[int] = ()) -> list[int]:
    """Ends trials at once as FAIL, with reason cancelled; they do not count against the budget.

    Their leases are void from then on: a worker that trains one of them learns of it by its next
    report or heartbeat, and drops it.

    Args:
        db: The database.
        study_id: The study.
        numbers: Running or waiting trials; none for all of them.

    Returns:
        The numbers of the trials that were cancelled, ascending.

    Raises:
        SpecError: A number is of no trial, or of one that has ended; nothing was cancelled.
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> list[int]:
        locked = LockedStudy.lock(db, conn, study_id)
        if numbers:
            require(locked, numbers, _OPEN, "has ended")
        leases = _leases(locked)
        found = [row for row in _open_trials(locked) if not numbers or row.number in numbers]
        ids = fences.ids(found)
        _end(locked, ids, [row for row in leases if row.trial_id in set(ids)])
        spending.exempt(locked, len(found))
        locked.record(
            [Event(study_id, spending.CANCELLED, "by `hpo cancel`", trial_id) for trial_id in ids]
        )
        return sorted(row.number for row in found)

    return db.transaction(work)


def require(
    locked: LockedStudy, numbers: Collection[int], states: Collection[TrialState], otherwise: str
) -> None:
    """Checks that trials exist and are in one of some states.

    Raises:
        SpecError: With one problem for each that is not.
    """
    wanted = sorted(set(numbers))
    found: dict[int, TrialState] = {}
    for part in fences.chunks(wanted):
        statement = sa.select(trials.c.number, trials.c.state).where(
            trials.c.study_id == locked.study_id, trials.c.number.in_(part)
        )
        found |= {row.number: row.state for row in locked.conn.execute(statement)}
    problems = [
        Problem(f"trial {number}", _complaint(found.get(number), otherwise))
        for number in wanted
        if found.get(number) not in states
    ]
    if problems:
        name = study_rows.name_of(locked.conn, locked.study_id)
        raise SpecError(f"nothing was done with the trials of {name}", problems=problems)


def _complaint(state: TrialState | None, otherwise: str) -> str:
    return "there is none" if state is None else f"{otherwise}: it is {state.name}"


def _open_trials(locked: LockedStudy) -> Sequence[Any]:
    statement = sa.select(trials.c.trial_id, trials.c.number).where(
        trials.c.study_id == locked.study_id, trials.c.state.in_(_OPEN)
    )
    return locked.conn.execute(statement).all()


def _leases(locked: LockedStudy) -> Sequence[Any]:
    """Locks the leases of the study, in the order of their ids, as every writer does."""
    lease = hpo_lease.c
    statement = (
        sa.select(lease.trial_id, lease.token, lease.epoch)
        .where(lease.study_id == locked.study_id)
        .order_by(lease.trial_id)
        .with_for_update()
    )
    return locked.conn.execute(statement).all()


def _end(locked: LockedStudy, ids: Sequence[int], leases: Sequence[Any]) -> None:
    if leases:
        locked.end_trials({row.trial_id: row.epoch for row in leases}, TrialState.FAIL)
    # Waiting trials, and those that another program runs, have no lease.
    rest = sorted(set(ids) - {row.trial_id for row in leases})
    for part in fences.chunks(rest):
        trial_rows.change_state(locked.conn, part, TrialState.FAIL, locked.now, only_from=_OPEN)
