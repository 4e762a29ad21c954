"""What workers hand in: epochs and outcomes, each written only while its lease is in force."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store import breaker, optuna_tables, sql, targets, trial_rows
from hpo.store.database import Database
from hpo.store.events import Event
from hpo.store.leases import EpochRow, Outcome
from hpo.store.tables import hpo_epoch, hpo_lease
from hpo.store.turn import FREE, Turn

_FINAL = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_INTERMEDIATE_KEYS = ("trial_id", "step")


def report(db: Database, rows: Sequence[EpochRow]) -> set[int]:
    """See `Ledger.report`."""
    first_of = {(row.trial_id, row.token, row.epoch): row for row in reversed(rows)}
    pairs = {(row.trial_id, row.token) for row in rows}

    def work(conn: sa.Connection, ending: Collection[int] = ()) -> set[int]:
        # Whoever locks a study and leases takes the study first.
        turns = [Turn.take(db, conn, study_id) for study_id in sorted(ending)]
        owned = sql.lock_fenced(conn, sorted(pairs))
        alive = [row for row in first_of.values() if row.trial_id in owned]
        if alive:
            _write_epochs(conn, alive, owned, db.now(conn))
            reached = _reached(conn, alive, owned)
            if not reached <= set(ending):
                raise _TargetReachedError(reached)
            _finish([turn for turn in turns if turn.study_id in reached])
        return _lost(pairs, owned)

    if not rows:
        return set()
    try:
        return db.transaction(work)
    except _TargetReachedError as error:
        # Once in the life of a study; all was undone.
        reached = error.study_ids
        return db.transaction(lambda conn: work(conn, reached))


def settle(db: Database, outcomes: Sequence[Outcome]) -> set[int]:
    """See `Ledger.settle`."""
    given = {(outcome.trial_id, outcome.token): _sane(outcome) for outcome in outcomes}

    def work(conn: sa.Connection) -> set[int]:
        settled: set[int] = set()
        for study_id in _studies_of(conn, list(given)):
            turn = Turn.take(db, conn, study_id)
            owned = sql.lock_fenced(conn, list(given), study_id)
            mine = [outcome for outcome in given.values() if outcome.trial_id in owned]
            _settle_in(turn, mine, owned)
            settled |= owned.keys()
        return _lost(given, settled)

    return db.transaction(work) if outcomes else set()


class _TargetReachedError(Exception):
    """Undoes a report by which studies end: their rows are to be locked before the leases."""

    def __init__(self, study_ids: set[int]) -> None:
        super().__init__(study_ids)
        self.study_ids = study_ids


def _reached(
    conn: sa.Connection, rows: Sequence[EpochRow], owned: Mapping[int, sql.Fenced]
) -> set[int]:
    """Returns the active studies whose target one of these epochs reaches."""
    if all(lease.target is None for lease in owned.values()):
        return set()
    values: dict[tuple[int, float], list[float]] = {}
    for row in rows:
        lease = owned[row.trial_id]
        if lease.target is not None and row.objective is not None:
            values.setdefault((lease.study_id, lease.target), []).append(row.objective)
    return {key[0] for key, found in values.items() if targets.reaches(conn, *key, found)}


def _finish(turns: Iterable[Turn]) -> None:
    for turn in turns:
        turn.finish_study("target")
        turn.end_free_trials()


def _settle_in(turn: Turn, outcomes: Sequence[Outcome], owned: Mapping[int, sql.Fenced]) -> None:
    """Settles trials of one study whose leases are locked and in force."""
    if not outcomes:
        return
    finals = [outcome for outcome in outcomes if outcome.state in _FINAL]
    others = [outcome for outcome in outcomes if outcome.state not in _FINAL]
    _write_results(turn.conn, outcomes, finals)
    for name, state in _FINAL.items():
        ending = [outcome for outcome in finals if outcome.state == name]
        if ending:
            epochs = {o.trial_id: max(o.epoch, owned[o.trial_id].epoch) for o in ending}
            turn.end_trials(epochs, state, [(o.trial_id, o.token) for o in ending])
    if others:
        _put_down(turn, others, owned)
    turn.record(
        [
            Event(
                study_id=turn.study_id,
                kind=outcome.reason,
                message=outcome.message,
                trial_id=outcome.trial_id,
                worker_id=owned[outcome.trial_id].worker_id,
            )
            for outcome in outcomes
            if outcome.reason
        ]
    )
    completed = [outcome.values for outcome in finals if outcome.state == "complete"]
    targets.finish_if_reached_by(turn, [values[0] for values in completed if values])
    failed = [outcome.message or outcome.reason for outcome in finals if outcome.state == "failed"]
    if failed:
        breaker.stop_if_failing(turn, failed[-1])
    if turn.state == "done":
        turn.end_free_trials()


def _write_results(
    conn: sa.Connection, outcomes: Iterable[Outcome], finals: Iterable[Outcome]
) -> None:
    attrs = [
        trial_rows.attr_row(outcome.trial_id, key, value)
        for outcome in outcomes
        for key, value in outcome.user_attrs.items()
    ]
    values = [
        row
        for outcome in finals
        for row in trial_rows.value_rows(outcome.trial_id, outcome.values or ())
    ]
    trial_rows.write_rows(conn, trial_rows.USER_ATTRS, attrs)
    trial_rows.write_rows(conn, trial_rows.VALUES, values)


def _put_down(turn: Turn, outcomes: Sequence[Outcome], owned: Mapping[int, sql.Fenced]) -> None:
    """Sets trials free for continuation, each from where its owner got to."""
    column = hpo_lease.c
    for part in sql.chunks(outcomes):
        epochs = {o.trial_id: max(o.epoch, owned[o.trial_id].epoch) for o in part}
        checkpoints = {o.trial_id: o.checkpoint for o in part if o.checkpoint is not None}
        turn.conn.execute(
            sa.update(hpo_lease)
            .where(sql.fence([(o.trial_id, o.token) for o in part]))
            .values(
                worker_id=None,
                token=FREE,
                epoch=sql.by_trial(column.epoch, epochs),
                checkpoint=sql.by_trial(column.checkpoint, checkpoints),
                updated_at=turn.now,
            )
        )


def _write_epochs(
    conn: sa.Connection,
    rows: Sequence[EpochRow],
    owned: Mapping[int, sql.Fenced],
    now: datetime,
) -> None:
    sql.insert_fenced(
        conn,
        hpo_epoch,
        [_epoch_row(row, now) for row in rows],
        keys=("trial_id", "epoch"),
        of_lease=("attempt",),
    )
    sql.insert_fenced(
        conn,
        optuna_tables.trial_intermediate_values,
        [_intermediate_row(row, row.objective) for row in rows if row.objective is not None],
        keys=_INTERMEDIATE_KEYS,
    )
    reached = {trial_id: lease.epoch for trial_id, lease in owned.items()}
    for row in rows:
        reached[row.trial_id] = max(reached[row.trial_id], row.epoch)
    for part in sql.chunks(sorted({(row.trial_id, row.token) for row in rows})):
        mine = {trial_id: reached[trial_id] for trial_id, _ in part}
        conn.execute(
            sa.update(hpo_lease)
            .where(sql.fence(part))
            .values(epoch=sql.by_trial(hpo_lease.c.epoch, mine), updated_at=now)
        )


def _epoch_row(row: EpochRow, now: datetime) -> dict[str, Any]:
    return {
        "trial_id": row.trial_id,
        "token": row.token,
        "epoch": row.epoch,
        "metrics": json.dumps(dict(row.metrics)),
        "learning_rate": _finite(row.learning_rate),
        "seconds": _finite(row.seconds) or 0.0,
        "samples_per_s": _finite(row.samples_per_s),
        "reported_at": now,
    }


def _intermediate_row(row: EpochRow, objective: float) -> dict[str, Any]:
    stored = trial_rows.intermediate_row(row.trial_id, row.epoch, objective)
    return {**stored, "token": row.token}


def _studies_of(conn: sa.Connection, pairs: Sequence[sql.Pair]) -> list[int]:
    found: set[int] = set()
    for part in sql.chunks(sorted(pairs)):
        found |= set(conn.scalars(sa.select(hpo_lease.c.study_id).where(sql.fence(part))))
    return sorted(found)


def _lost(pairs: Iterable[sql.Pair], owned: Iterable[int]) -> set[int]:
    return {trial_id for trial_id, _ in pairs}.difference(owned)


def _sane(outcome: Outcome) -> Outcome:
    """Returns an outcome that Optuna can hold: no value of a finished trial is NaN."""
    if not any(math.isnan(value) for value in outcome.values or ()):
        return outcome
    if outcome.state == "complete":
        return replace(outcome, state="failed", values=None, reason=outcome.reason or "nan")
    return replace(outcome, values=None)


def _finite(value: float | None) -> float | None:
    # MySQL's columns hold neither NaN nor infinities.
    return value if value is not None and math.isfinite(value) else None
