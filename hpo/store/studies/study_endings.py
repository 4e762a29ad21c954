"""Study endings: a study finished or stopped by what its trials have shown."""

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
"""Reason of a study whose objective called ``study.stop()``: running trials train to their end."""

WRONG_COUNT: Final = "directions"
"""Kind of the event of a study whose objective does not return one value a direction."""


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
    db: Database,
    study_id: int,
    reason: str,
    also: Sequence[Event] = (),
    *,
    without_results: bool = False,
) -> None:
    """Stops a study that is active or paused; no trial starts until it is resumed.

    Args:
        db: The database.
        study_id: The study.
        reason: One line.
        also: Events to record before the study's own.
        without_results: Only if none of its trials is complete or pruned.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> None:
        locked = LockedStudy.lock(db, conn, study_id)
        if locked.state not in ("active", "paused") or (
            without_results and has_results(conn, study_id)
        ):
            return
        locked.state, locked.reason = "stopped", reason
        locked.update_study(state=locked.state, reason=reason, updated_at=locked.now)
        locked.record([*also, Event(study_id, "stopped", reason)])

    db.transaction(work)


def has_wrong_count(conn: sa.Connection, study_id: int) -> bool:
    """Returns whether a study has no results because of the number of its directions."""
    column = hpo_event.c
    told = sa.select(column.event_id).where(column.study_id == study_id, column.kind == WRONG_COUNT)
    is_told = conn.execute(told.limit(1)).first() is not None
    return is_told and not has_results(conn, study_id)


def has_results(conn: sa.Connection, study_id: int) -> bool:
    """Returns whether a trial of the study is complete or pruned."""
    found = sa.select(trials.c.trial_id).where(
        trials.c.study_id == study_id,
        trials.c.state.in_((TrialState.COMPLETE, TrialState.PRUNED)),
    )
    return conn.execute(found.limit(1)).first() is not None
