"""Trial states: the state in which all commands show a trial, and the counts of each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.optuna_tables import name_of, trials
from hpo.store.rows import worker_list

GRACE_S = 60.0

FINISHED = ("COMPLETE", "PRUNED", "FAIL")
RUNNING, PAUSED, WAITING = "RUNNING", "PAUSED", "WAITING"
STATES = (*FINISHED, RUNNING, PAUSED, WAITING)
"""Optuna's states and PAUSED; in Optuna each trial that has started and not ended is RUNNING."""


@dataclass(frozen=True)
class Counts:
    """Number of trials in each shown state.

    Attributes:
        complete: Trained to the end.
        pruned: Stopped early.
        failed: Failed or were cancelled.
        running: A live worker trains them, or they belong to a program that uses Optuna alone.
        waiting: They have not started, or are interrupted and not resumed yet.
        paused: The search has suspended them and may resume them later.
    """

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    paused: int = 0

    @property
    def finished(self) -> int:
        """Trials that have ended. They never change, so this number never decreases."""
        return self.complete + self.pruned + self.failed

    @property
    def total(self) -> int:
        """All trials."""
        return self.finished + self.running + self.waiting + self.paused


def count_states(conn: Connection, db: Database, study_id: int | None = None) -> dict[int, Counts]:
    """Counts the trials of each study, or of one, by their shown state."""
    live = live_workers(conn, db, study_id)
    by_state = sa.select(trials.c.study_id, name_of(trials.c.state), sa.func.count())
    by_state = by_state.group_by(trials.c.study_id, trials.c.state)
    # Only started and unfinished trials have a lease: few rows in studies of any size.
    state = shown_state(live)
    begun = (
        sa.select(hpo_lease.c.study_id, state.label("shown"), sa.func.count())
        .join(trials, trials.c.trial_id == hpo_lease.c.trial_id)
        .where(trials.c.state == RUNNING)
        .group_by(hpo_lease.c.study_id, sa.text("shown"))
    )
    if study_id is not None:
        by_state = by_state.where(trials.c.study_id == study_id)
        begun = begun.where(hpo_lease.c.study_id == study_id)
    found: dict[int, dict[str, int]] = {}
    for owner, name, n in conn.execute(by_state):
        found.setdefault(owner, {})[name] = n
    for owner, name, n in conn.execute(begun):
        of_study = found.setdefault(owner, {})
        of_study[RUNNING] = of_study.get(RUNNING, 0) - n
        of_study[name] = of_study.get(name, 0) + n
    return {owner: _counts(of_study) for owner, of_study in found.items()}


def counts_of(conn: Connection, db: Database, study_id: int) -> Counts:
    """Counts the trials of one study by their shown state."""
    return count_states(conn, db, study_id).get(study_id, Counts())


def shown_state(live: Collection[int]) -> sa.ColumnElement[str]:
    """Returns the SQL of the state in which a trial is shown, over ``trials`` and its lease.

    A query joins ``hpo_lease`` to ``trials``, with an outer join if trials may have no lease.

    Args:
        live: The live workers, as `live_workers` returns them.
    """
    lease = hpo_lease.c
    is_held = sa.and_(lease.worker_id.is_not(None), lease.worker_id.in_(sorted(live)))
    return sa.case(
        # PostgreSQL has a separate type for Optuna's states.
        (trials.c.state != RUNNING, sa.cast(trials.c.state, sa.String(16))),
        # Without a lease it belongs to a program that uses Optuna alone.
        (lease.trial_id.is_(None), sa.literal(RUNNING)),
        (is_held, sa.literal(RUNNING)),
        (sa.and_(lease.epoch_stop > 0, lease.epoch >= lease.epoch_stop), sa.literal(PAUSED)),
        else_=sa.literal(WAITING),
    )


def live_workers(conn: Connection, db: Database, study_id: int | None = None) -> dict[int, int]:
    """Returns the ids and studies of the live workers, of one study or of all."""
    return worker_list.live_of(conn, db.now(conn), study_id, GRACE_S)


def _counts(of_study: dict[str, int]) -> Counts:
    unknown = set(of_study) - set(STATES)
    if unknown:
        raise ValueError(f"a trial is in an unknown state: {min(unknown, key=str)!r}")
    return Counts(
        complete=of_study.get("COMPLETE", 0),
        pruned=of_study.get("PRUNED", 0),
        failed=of_study.get("FAIL", 0),
        running=max(0, of_study.get(RUNNING, 0)),
        waiting=of_study.get(WAITING, 0),
        paused=of_study.get(PAUSED, 0),
    )
