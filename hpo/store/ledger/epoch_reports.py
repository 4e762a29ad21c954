"""Epoch reports: written only while the lease of their trial is in force.

This is the most frequent of the ledger's verbs. So the number of its statements depends neither on
the number of trials nor on that of epochs, and no statement is built anew. PostgreSQL does all in
one statement, the other databases in four.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from hpo.store.db import compiled_statements, optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease
from hpo.store.ledger import fences, spending
from hpo.store.ledger.leases import EpochRow
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import upserts

_STEPS = optuna_tables.trial_intermediate_values


def report(db: Database, rows: Sequence[EpochRow]) -> set[int]:
    """Writes epochs; see `Ledger.report`."""
    first_of = {(row.trial_id, row.token, row.epoch): row for row in reversed(rows)}
    # In the order of their keys, so that two writers of the same rows cannot deadlock.
    given = [first_of[key] for key in sorted(first_of)]
    write = _write_at_once if db.dialect == "postgresql" else _write
    ending: set[int] = set()

    def work(conn: sa.Connection) -> _Written:
        # A transaction that locks a study and leases locks the study first.
        studies = [LockedStudy.lock(db, conn, study_id) for study_id in sorted(ending)]
        written = write(db, conn, given, ending)
        for locked in studies:
            if locked.study_id in written.reached:
                locked.finish_study("target")
                locked.prune_unowned_trials()
        return written

    is_single = db.dialect == "postgresql"
    written = db.transaction(work, single=is_single) if rows else _Written(set(), set())
    while not written.reached <= ending:
        # Nothing was written: the studies are locked first. This happens once in a study's life.
        ending |= written.reached
        written = db.transaction(work)
    return {row.trial_id for row in rows} - written.owned


class _Written(NamedTuple):
    """The result of a report.

    Attributes:
        owned: Trials whose leases are in force.
        reached: Active studies whose target the report reaches. Nothing is written if one of them
            is not among those that may end.
    """

    owned: set[int]
    reached: set[int]


def _write(
    db: Database, conn: sa.Connection, rows: Sequence[EpochRow], ending: set[int]
) -> _Written:
    leases = fences.lock_fenced(conn, {(row.trial_id, row.token) for row in rows})
    alive = [
        row for row in rows if row.trial_id in leases and row.token == leases[row.trial_id].token
    ]
    written = _Written(set(leases), _reached(conn, alive, leases))
    if not alive or not written.reached <= ending:
        return written
    now = db.now(conn)
    epochs = [_epoch_row(row, leases[row.trial_id].attempt, now) for row in alive]
    compiled_statements.run_many(conn, _insert(hpo_epoch, "epoch", db.dialect), epochs)
    steps = [_step_row(row, row.objective) for row in alive if row.objective is not None]
    if steps:
        compiled_statements.run_many(conn, _insert(_STEPS, "step", db.dialect), steps)
    for part in fences.chunks(sorted(leases)):
        compiled_statements.run(conn, *fences.with_ids(_advance, part, now=now))
    return written


def _reached(
    conn: sa.Connection, rows: Sequence[EpochRow], leases: Mapping[int, fences.Fenced]
) -> set[int]:
    """Returns the active studies whose target one of these epochs reaches."""
    if all(lease.target is None for lease in leases.values()):
        return set()
    values: dict[tuple[int, float], list[float]] = {}
    for row in rows:
        lease = leases[row.trial_id]
        if lease.target is not None and row.objective is not None:
            values.setdefault((lease.study_id, lease.target), []).append(row.objective)
    return {key[0] for key, found in values.items() if spending.reaches_target(conn, *key, found)}


def _epoch_row(row: EpochRow, attempt: int, now: Any) -> dict[str, Any]:
    return {
        "trial_id": row.trial_id,
        "epoch": row.epoch,
        "metrics": json.dumps(dict(row.metrics)),
        "learning_rate": _finite(row.learning_rate),
        "seconds": _finite(row.seconds) or 0.0,
        "samples_per_s": _finite(row.samples_per_s),
        "attempt": attempt,
        "reported_at": now,
    }


def _step_row(row: EpochRow, objective: float) -> dict[str, Any]:
    value, kind = optuna_tables.intermediate_to_row(objective)
    return {
        "trial_id": row.trial_id,
        "step": row.epoch,
        "intermediate_value": value,
        "intermediate_value_type": kind,
    }


def _write_at_once(
    db: Database, conn: sa.Connection, rows: Sequence[EpochRow], ending: set[int]
) -> _Written:
    no_step = (None, None)
    steps = [
        no_step if row.objective is None else optuna_tables.intermediate_to_row(row.objective)
        for row in rows
    ]
    columns: dict[str, list[Any]] = {
        "trial_id": [row.trial_id for row in rows],
        "token": [row.token for row in rows],
        "epoch": [row.epoch for row in rows],
        "metrics": [json.dumps(dict(row.metrics)) for row in rows],
        "learning_rate": [_finite(row.learning_rate) for row in rows],
        "seconds": [_finite(row.seconds) or 0.0 for row in rows],
        "samples_per_s": [_finite(row.samples_per_s) for row in rows],
        "value": [value for value, _ in steps],
        "kind": [kind for _, kind in steps],
    }
    arrays = {name: upserts.array_text(values) for name, values in columns.items()}
    values = {**arrays, "ending": upserts.array_text(sorted(ending)), "offset": db.clock_offset}
    found = conn.execute(_AT_ONCE, values).all()
    return _Written(
        {trial_id for trial_id, _ in found if trial_id is not None},
        {study_id for _, study_id in found if study_id is not None},
    )


def _finite(value: float | None) -> float | None:
    # MySQL's columns hold neither NaN nor infinities.
    return value if value is not None and math.isfinite(value) else None


@lru_cache(maxsize=8)
def _insert(table: sa.Table, step: str, dialect: str) -> sa.Insert:
    """Returns the INSERT of a row, which leaves an existing row as it is."""
    insert = upserts.insert_of(dialect)(table)
    if dialect == "mysql":
        # Not INSERT IGNORE, which would turn other errors into warnings, too.
        insert = insert.on_duplicate_key_update(trial_id=table.c.trial_id)
    else:
        insert = insert.on_conflict_do_nothing(index_elements=("trial_id", step))
    assert isinstance(insert, sa.Insert)
    # The keys are given, so SQLAlchemy need not ask the database for them.
    return insert.inline()


@lru_cache(maxsize=8)
def _advance(n: int) -> sa.Update:
    """Returns the UPDATE that moves leases to the last reported epoch of their trials."""
    lease = hpo_lease.c
    last = (
        sa.select(sa.func.max(hpo_epoch.c.epoch))
        .where(hpo_epoch.c.trial_id == lease.trial_id)
        .scalar_subquery()
    )
    now = sa.bindparam("now", type_=lease.updated_at.type)
    return (
        sa.update(hpo_lease)
        .where(fences.one_of(lease.trial_id, n))
        .values(epoch=sa.case((lease.epoch < last, last), else_=lease.epoch), updated_at=now)
    )


# Leases are locked in the order of their ids, so that two transactions cannot deadlock.
_AT_ONCE = sa.text(
    """
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(
            CAST(:trial_id AS integer[]),
            CAST(:token AS bigint[]),
            CAST(:epoch AS integer[]),
            CAST(:metrics AS text[]),
            CAST(:learning_rate AS double precision[]),
            CAST(:seconds AS double precision[]),
            CAST(:samples_per_s AS double precision[]),
            CAST(:value AS double precision[]),
            CAST(:kind AS trialintermediatevaluetype[])
        ) AS row (trial_id, token, epoch, metrics, learning_rate, seconds, samples_per_s,
                  value, kind)
    ), owned AS MATERIALIZED (
        SELECT lease.trial_id, lease.study_id, lease.token, lease.attempt,
               (clock_timestamp() AT TIME ZONE 'UTC') + CAST(:offset AS interval) AS now
        FROM hpo_lease AS lease JOIN trials ON trials.trial_id = lease.trial_id
        WHERE (lease.trial_id, lease.token) IN (SELECT trial_id, token FROM given)
          AND trials.state = 'RUNNING'
        ORDER BY lease.trial_id
        FOR UPDATE OF lease FOR SHARE OF trials
    ), reached AS MATERIALIZED (
        SELECT DISTINCT study.study_id
        FROM given
        JOIN owned USING (trial_id, token)
        JOIN hpo_study AS study USING (study_id)
        JOIN study_directions AS direction USING (study_id)
        CROSS JOIN LATERAL (
            SELECT CASE kind WHEN 'INF_POS' THEN 'Infinity' WHEN 'INF_NEG' THEN '-Infinity'
                   ELSE value END AS value
        ) AS first
        WHERE study.state = 'active' AND direction.objective = 0
          AND CASE direction.direction WHEN 'MAXIMIZE' THEN first.value >= study.target
              ELSE first.value <= study.target END
    ), alive AS MATERIALIZED (
        SELECT given.*, owned.attempt, owned.now
        FROM given JOIN owned USING (trial_id, token)
        WHERE NOT EXISTS (
            SELECT FROM reached WHERE NOT study_id = ANY (CAST(:ending AS integer[]))
        )
    ), epochs AS (
        INSERT INTO hpo_epoch (trial_id, epoch, metrics, learning_rate, seconds, samples_per_s,
                               attempt, reported_at)
        SELECT trial_id, epoch, metrics, learning_rate, seconds, samples_per_s, attempt, now
        FROM alive
        ON CONFLICT (trial_id, epoch) DO NOTHING
    ), steps AS (
        INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value,
                                               intermediate_value_type)
        SELECT trial_id, epoch, value, kind FROM alive WHERE kind IS NOT NULL
        ON CONFLICT (trial_id, step) DO NOTHING
    ), advanced AS (
        UPDATE hpo_lease SET epoch = greatest(hpo_lease.epoch, last.epoch), updated_at = last.now
        FROM (SELECT trial_id, max(epoch) AS epoch, max(now) AS now FROM alive GROUP BY trial_id)
            AS last
        WHERE hpo_lease.trial_id = last.trial_id
    )
    SELECT trial_id, NULL AS study_id FROM owned UNION ALL SELECT NULL, study_id FROM reached
    """
)
