"""Ends of a study that its trials bring about, and not its budget or a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows.events import Event

BY_OBJECTIVE: Final = "study.stop"
"""Why a study is done whose objective called ``study.stop()``: what runs still runs to its end."""

WRONG_COUNT: Final = "directions"
"""Kind of the event of a study whose objective returns another number of values than it has
directions."""


def finish(db: Database, study_id: int, reason: str) -> None:
    """Marks a study done that is active or paused.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> None:
        locked = LockedStudy.lock(db, conn, study_id)
        if locked.state in ("active", "paused"):
            locked.finish_study(reason)
            locked.prune_unowned_trials()

    db.transaction(work)


def stop(
    db: Database, study_id: int, reason: str, also: Sequence[Event] = (), *, young: bool = False
) -> None:
    """Stops a study that is active or paused; nothing begins until somebody resumes it.

    Args:
        db: The database.
        study_id: The study.
        reason: In a line.
        also: Events that tell more.
        young: Only if none of its trials is complete or pruned.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> None:
        locked = LockedStudy.lock(db, conn, study_id)
        if locked.state not in ("active", "paused") or (young and has_results(conn, study_id)):
            return
        locked.state, locked.reason = "stopped", reason
        locked.update_study(state=locked.state, reason=reason, updated_at=locked.now)
        locked.record([*also, Event(study_id, "stopped", reason)])

    db.transaction(work)


def has_wrong_count(conn: sa.Connection, study_id: int) -> bool:
    """Tells whether a study came to nothing but for the number of its directions."""
    column = hpo_event.c
    told = sa.select(column.event_id).where(column.study_id == study_id, column.kind == WRONG_COUNT)
    is_told = conn.execute(told.limit(1)).first() is not None
    return is_told and not has_results(conn, study_id)


def has_results(conn: sa.Connection, study_id: int) -> bool:
    """Tells whether a trial of the study is complete or pruned."""
    found = sa.select(trials.c.trial_id).where(
        trials.c.study_id == study_id,
        trials.c.state.in_((TrialState.COMPLETE, TrialState.PRUNED)),
    )
    return conn.execute(found.limit(1)).first() is not None
