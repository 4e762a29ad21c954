"""Confirmations: studies that train the best trials of another study again, with new seeds.

A confirmation is a study of its own, so its runs are trials with leases, checkpoints and events as
all others. Optuna's system attribute `CONFIRMS` links the study with the one that it confirms, and
each of its trials with the trial that it trains again. The link is the time of creation, which
stays when a study is renamed or copied.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.ledger import spending
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import study_rows, trial_rows
from hpo.store.rows.events import Event
from hpo.store.rows.study_rows import CONFIRMS
from hpo.store.studies import study_budgets, study_records
from hpo.store.studies.queueing import FIXED_PARAMS
from hpo.store.studies.study_records import StudyRecord

_OF_STUDIES = optuna_tables.study_system_attributes
_OF_TRIALS = optuna_tables.trial_system_attributes


@dataclass(frozen=True)
class SeedRun:
    """One more training of a trial, with another seed.

    Attributes:
        trial: The number of the trial in the study that is confirmed.
        seed: Of the training; below 2**32.
    """

    trial: int
    seed: int


def link_to(study: StudyRecord) -> dict[str, Any]:
    """Returns the attributes of a new study that confirms this one."""
    return {CONFIRMS: _identity(study.created_at)}


def find(conn: sa.Connection, created_at: datetime) -> int | None:
    """Returns the id of the study that confirms the one of this time of creation; the newest."""
    statement = sa.select(_OF_STUDIES.c.study_id, _OF_STUDIES.c.value_json).where(
        _OF_STUDIES.c.key == CONFIRMS
    )
    wanted = _identity(created_at)
    found = [study_id for study_id, text in conn.execute(statement) if json.loads(text) == wanted]
    return max(found, default=None)


def is_confirmation(conn: sa.Connection, study_id: int) -> bool:
    """Returns whether a study confirms another one."""
    statement = sa.select(_OF_STUDIES.c.study_id).where(
        _OF_STUDIES.c.study_id == study_id, _OF_STUDIES.c.key == CONFIRMS
    )
    return conn.scalar(statement) is not None


def confirms(conn: sa.Connection, study_id: int, study: StudyRecord) -> bool:
    """Returns whether a study confirms this one."""
    statement = sa.select(_OF_STUDIES.c.value_json).where(
        _OF_STUDIES.c.study_id == study_id, _OF_STUDIES.c.key == CONFIRMS
    )
    text = conn.scalar(statement)
    return text is not None and json.loads(text) == _identity(study.created_at)


def runs_of(conn: sa.Connection, study_id: int) -> dict[int, SeedRun]:
    """Returns the runs of a confirmation by their trial_id, oldest first."""
    trial = optuna_tables.trials.c
    statement = (
        sa.select(_OF_TRIALS.c.trial_id, _OF_TRIALS.c.value_json)
        .join(optuna_tables.trials, trial.trial_id == _OF_TRIALS.c.trial_id)
        .where(trial.study_id == study_id, _OF_TRIALS.c.key == CONFIRMS)
        .order_by(_OF_TRIALS.c.trial_id)
    )
    return {trial_id: SeedRun(**json.loads(text)) for trial_id, text in conn.execute(statement)}


def most_runs(db: Database, study_id: int) -> int:
    """Returns how many runs the trial of a confirmation has that has most of them; at least 1."""
    with db.read() as conn:
        counts = Counter(run.trial for run in runs_of(conn, study_id).values())
    return max(counts.values(), default=1)


def seed_of(db: Database, study_id: int, number: int) -> int | None:
    """Returns the seed of a run, by its number; None for a trial that is none."""
    trial = optuna_tables.trials.c
    statement = (
        sa.select(_OF_TRIALS.c.value_json)
        .join(optuna_tables.trials, trial.trial_id == _OF_TRIALS.c.trial_id)
        .where(trial.study_id == study_id, trial.number == number, _OF_TRIALS.c.key == CONFIRMS)
    )
    with db.read() as conn:
        text = conn.scalar(statement)
    return None if text is None else SeedRun(**json.loads(text)).seed


def add_runs(
    db: Database,
    study_id: int,
    params: Mapping[int, Mapping[str, Any]],
    seeds: Sequence[int],
) -> int:
    """Enqueues the runs that a confirmation lacks, and gives it the budget for them.

    Runs of one trial follow one another, so that they become lanes of one stack. The study
    continues if it was done.

    Args:
        db: The database.
        study_id: The confirmation.
        params: Of the trials to confirm, by their numbers.
        seeds: Each trial is trained with each of them.

    Returns:
        How many were added.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> int:
        locked = LockedStudy.lock(db, conn, study_id)
        known = set(runs_of(conn, study_id).values())
        wanted = [SeedRun(number, seed) for number in params for seed in seeds]
        lacking = [run for run in wanted if run not in known]
        _enqueue(locked, params, lacking)
        _fund(locked, db)
        return len(lacking)

    return db.transaction(work)


def _enqueue(
    locked: LockedStudy, params: Mapping[int, Mapping[str, Any]], runs: Collection[SeedRun]
) -> None:
    if not runs:
        return
    added = trial_rows.add_trials(locked.conn, locked.study_id, len(runs), state=TrialState.WAITING)
    rows = [
        trial_rows.attr_row(trial_id, key, value)
        for (trial_id, _), run in zip(added, runs, strict=True)
        for key, value in (
            (FIXED_PARAMS, dict(params[run.trial])),
            (CONFIRMS, asdict(run)),
        )
    ]
    trial_rows.write_rows(locked.conn, trial_rows.SYSTEM_ATTRS, rows)
    trials = ", ".join(str(number) for number in dict.fromkeys(run.trial for run in runs))
    text = f"{len(runs)} runs with new seeds, of the trials {trials}"
    locked.record([Event(locked.study_id, "enqueued", text)])


def _fund(locked: LockedStudy, db: Database) -> None:
    """Sets the budget of trials to those that there are; cancelled and retried ones are exempt."""
    trials = optuna_tables.trials.c
    count = sa.select(sa.func.count()).where(trials.study_id == locked.study_id)
    n_trials = int(locked.conn.execute(count).scalar_one()) - spending.n_exempt(locked)
    name = study_rows.name_of(locked.conn, locked.study_id) or ""
    record = study_records.read(locked.conn, name, db)
    budget = record.budget.model_copy(update={"trials": n_trials})
    if budget != record.budget:
        study_budgets.update(locked, record, budget)


def _identity(created_at: datetime) -> str:
    return created_at.isoformat(timespec="microseconds")
