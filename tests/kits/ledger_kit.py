"""Studies, workers, reports and outcomes for tests of the store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease, hpo_worker
from hpo.store.ledger import workers
from hpo.store.ledger.leases import EpochRow, Lease, Outcome, OutcomeState, StudyState
from hpo.store.ledger.ledger import Ledger
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows.events import Event
from hpo.store.studies import studies, study_budgets


def spec(name: str = "s", direction: str = "maximize", **budget: Any) -> StudySpec:
    """Returns the spec of a study that is not trained."""
    return StudySpec(
        name=name,
        task="digits-mlp",
        metric="val_accuracy",
        direction=direction,
        budget=Budget(**{"trials": 5, "epochs": 3, **budget}),
        space={"learning_rate": {"low": 0.1, "high": 1.0}},
    )


def new_study(db: Database, name: str = "s", **budget: Any) -> int:
    """Creates a study and returns its id."""
    return studies.create_or_join(db, spec(name, **budget), None)[0].study_id


def new_worker(db: Database, study_id: int, *, remote: bool = False) -> int:
    """Registers this process as a worker; a remote one is judged by its heartbeat alone."""
    worker_id = workers.register(db, study_id, "cpu")
    if remote:
        with db.write() as conn:
            conn.execute(
                sa.update(hpo_worker)
                .where(hpo_worker.c.worker_id == worker_id)
                .values(machine="elsewhere", host="far")
            )
    return worker_id


def pass_time(db: Database, seconds: float, heard: Iterable[int] = ()) -> None:
    """Moves the database's clock on, while some workers' hearts go on beating."""
    beating = list(heard)
    while seconds > 0:
        step = min(10.0, seconds)
        seconds -= step
        db.clock_offset += timedelta(seconds=step)
        for worker_id in beating:
            beat(db, worker_id)


def beat(db: Database, worker_id: int) -> bool:
    """Sends a worker's heartbeat; False when the worker is not known, or has ended."""
    return Ledger(db).renew(worker_id).state != "gone"


def set_state(db: Database, study_id: int, state: StudyState, reason: str | None = None) -> None:
    """Sets a study's state, whatever state it is in."""

    def work(conn: sa.Connection) -> None:
        locked = LockedStudy.lock(db, conn, study_id)
        locked.state, locked.reason = state, reason
        locked.update_study(state=state, reason=reason, updated_at=locked.now)
        if state == "done":
            locked.prune_unowned_trials()

    db.transaction(work)


def set_budget(db: Database, study_id: int, budget: Budget) -> None:
    """Changes a study's budget, whatever it was."""
    study_budgets.change(db, study_id, lambda record: budget)


def recent_events(
    db: Database, study_id: int, *, trial_id: int | None = None, limit: int = 100
) -> list[Event]:
    """Returns the last events, newest first, without those of complete trials."""
    event = hpo_event.c
    statement = (
        sa.select(
            event.study_id, event.kind, event.message, event.trial_id, event.worker_id, event.at
        )
        .where(event.study_id == study_id, event.kind != "complete")
        .order_by(event.event_id.desc())
        .limit(limit)
    )
    if trial_id is not None:
        statement = statement.where(event.trial_id == trial_id)
    with db.read() as conn:
        return [Event(*row) for row in conn.execute(statement)]


def epoch_row(lease: Lease, epoch: int, objective: float | None = 0.5) -> EpochRow:
    """Returns a report of one epoch."""
    return EpochRow(
        trial_id=lease.trial_id,
        token=lease.token,
        epoch=epoch,
        metrics={"val_accuracy": 0.5, "loss": float("nan")},
        objective=objective,
        learning_rate=0.1,
        seconds=0.01,
        samples_per_s=100.0,
    )


def outcome(lease: Lease, state: OutcomeState = "complete", **changes: Any) -> Outcome:
    """Returns how a lease ended."""
    values = (0.5,) if state == "complete" else None
    return Outcome(
        **{
            "trial_id": lease.trial_id,
            "token": lease.token,
            "state": state,
            "values": values,
            **changes,
        }
    )


def states(db: Database, study_id: int) -> list[str]:
    """Returns the names of the trials' states, by number."""
    trials = optuna_tables.trials.c
    statement = sa.select(trials.state).where(trials.study_id == study_id).order_by(trials.number)
    with db.read() as conn:
        return [state.name for state in conn.scalars(statement)]


def n_running(db: Database, study_id: int) -> int:
    """Counts the study's RUNNING trials."""
    return states(db, study_id).count(TrialState.RUNNING.name)


def values_of(db: Database, trial_id: int) -> list[float]:
    """Returns the trial's final values as they are stored."""
    value = optuna_tables.trial_values.c
    with db.read() as conn:
        return list(conn.scalars(sa.select(value.value).where(value.trial_id == trial_id)))


def epochs_of(db: Database, trial_id: int) -> list[int]:
    """Returns the epochs reported for a trial, ascending."""
    epoch = hpo_epoch.c
    statement = sa.select(epoch.epoch).where(epoch.trial_id == trial_id).order_by(epoch.epoch)
    with db.read() as conn:
        return list(conn.scalars(statement))


def steps_of(db: Database, trial_id: int) -> dict[int, float | None]:
    """Returns Optuna's intermediate values of a trial, by step."""
    column = optuna_tables.trial_intermediate_values.c
    statement = sa.select(column.step, column.intermediate_value).where(column.trial_id == trial_id)
    with db.read() as conn:
        return {row.step: row.intermediate_value for row in conn.execute(statement)}


def lease_rows(db: Database, study_id: int) -> list[Any]:
    """Returns the rows of ``hpo_lease`` of a study, by trial_id."""
    statement = (
        sa.select(hpo_lease).where(hpo_lease.c.study_id == study_id).order_by(hpo_lease.c.trial_id)
    )
    with db.read() as conn:
        return list(conn.execute(statement))


def n_statements(db: Database, work: Any) -> int:
    """Counts the statements that ``work()`` sends through the database's engine, but for BEGIN."""
    sent: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
    return len(sent)


def numbers(leases: Iterable[Lease]) -> list[int]:
    """Returns the trials' numbers."""
    return [lease.number for lease in leases]


def trial_ids(db: Database, study_id: int) -> set[int]:
    """Returns the ids of the study's trials."""
    column = optuna_tables.trials.c
    with db.read() as conn:
        found = conn.scalars(sa.select(column.trial_id).where(column.study_id == study_id))
        return set(found)
