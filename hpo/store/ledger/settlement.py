"""Settlement: outcomes of leases, written only while the lease is in force."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.ledger import breaker, fences, spending
from hpo.store.ledger.leases import Outcome
from hpo.store.ledger.locked_study import UNOWNED_TOKEN, LockedStudy
from hpo.store.rows import trial_rows
from hpo.store.rows.events import Event

_FINAL = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def settle(db: Database, conn: sa.Connection, outcomes: Sequence[Outcome]) -> set[int]:
    """Writes outcomes, and returns the trial_ids whose lease is lost; see `Ledger.settle`."""
    given = {(outcome.trial_id, outcome.token): _sane(outcome) for outcome in outcomes}
    trial_ids = {trial_id for trial_id, _ in given}
    settled: set[int] = set()
    for locked in LockedStudy.lock_those_of_trials(db, conn, sorted(trial_ids)):
        owned = fences.lock_fenced(conn, given.keys(), locked.study_id)
        mine = [given[lease.trial_id, lease.token] for lease in owned.values()]
        _settle_in(locked, mine, owned)
        settled |= owned.keys()
    return trial_ids - settled


def _settle_in(
    locked: LockedStudy, outcomes: Sequence[Outcome], owned: Mapping[int, fences.Fenced]
) -> None:
    """Settles trials of one study whose leases are locked and in force."""
    if not outcomes:
        return
    finals = [outcome for outcome in outcomes if outcome.state in _FINAL]
    others = [outcome for outcome in outcomes if outcome.state not in _FINAL]
    _write_results(locked.conn, outcomes, finals)
    for name, state in _FINAL.items():
        ending = [outcome for outcome in finals if outcome.state == name]
        if ending:
            epochs = {o.trial_id: max(o.epoch, owned[o.trial_id].epoch) for o in ending}
            locked.end_trials(epochs, state)
    if others:
        _release(locked, others, owned)
    locked.record(
        [
            Event(
                study_id=locked.study_id,
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
    spending.finish_if_values_reach_target(locked, [values[0] for values in completed if values])
    failed = [outcome.message or outcome.reason for outcome in finals if outcome.state == "failed"]
    if failed:
        breaker.stop_if_failing(locked, failed[-1])
    if locked.state == "done":
        locked.prune_unowned_trials()


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


def _release(
    locked: LockedStudy, outcomes: Sequence[Outcome], owned: Mapping[int, fences.Fenced]
) -> None:
    """Releases trials, to be continued from where their owners stopped."""
    column = hpo_lease.c
    for part in fences.chunks(outcomes):
        epochs = {o.trial_id: max(o.epoch, owned[o.trial_id].epoch) for o in part}
        checkpoints = {o.trial_id: o.checkpoint for o in part if o.checkpoint is not None}
        locked.conn.execute(
            sa.update(hpo_lease)
            .where(fences.fence([(o.trial_id, o.token) for o in part]))
            .values(
                worker_id=None,
                token=UNOWNED_TOKEN,
                epoch=fences.by_trial(column.epoch, epochs),
                checkpoint=fences.by_trial(column.checkpoint, checkpoints),
                updated_at=locked.now,
            )
        )


def _sane(outcome: Outcome) -> Outcome:
    """Returns the outcome without NaN, which Optuna's table of values cannot hold."""
    if not any(math.isnan(value) for value in outcome.values or ()):
        return outcome
    if outcome.state == "complete":
        return replace(outcome, state="failed", values=None, reason=outcome.reason or "nan")
    return replace(outcome, values=None)
