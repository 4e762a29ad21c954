"""Studies: their spec, state and budget, beside Optuna's row for each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from optuna.study import StudyDirection

from hpo.errors import SpecError, StoreError, did_you_mean
from hpo.spec import toml
from hpo.spec.study import Budget, StudySpec
from hpo.store import (
    budgets,
    endings,
    given_budget,
    optuna_tables,
    renaming,
    spending,
    study_rows,
    targets,
)
from hpo.store.database import Database
from hpo.store.events import Event
from hpo.store.leases import StudyState
from hpo.store.tables import hpo_study
from hpo.store.turn import Turn

logger = logging.getLogger(__name__)
_DIRECTIONS = {"maximize": StudyDirection.MAXIMIZE, "minimize": StudyDirection.MINIMIZE}
_NAME = optuna_tables.studies.c.study_name
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class StudyRecord:
    """A study as the database has it; times are naive UTC by the database's clock.

    Attributes:
        spec: As it was created or last updated.
        digest: Of the spec, without its budget.
        state: active, paused, stopped or done.
        base_dir: Folder that relative paths of the spec refer to.
        deadline_at: When its hours are over.
        reason: Why it is in its state.
        prior: First points learnt from other studies, as `hpo.search.prior` reads them.
        files: The name under which its files lie: that with which it was created.
    """

    study_id: int
    name: str
    spec: StudySpec
    digest: str
    state: StudyState
    base_dir: str | None
    budget: Budget
    deadline_at: datetime | None
    created_at: datetime
    updated_at: datetime
    reason: str | None
    prior: str | None = None
    files: str = ""


def create_or_join(
    db: Database, spec: StudySpec, base_dir: str | None, *, by_name: bool = False
) -> tuple[StudyRecord, bool]:
    """Creates the study of a spec, or joins the one that is there, in one transaction.

    A study of the same name is joined when it differs in nothing but the budget. That is then
    updated, unless it is what was given the last time: `hpo update` has changed it since. One that
    was stopped for its objective returns more values than it has directions is replaced by one
    with directions for them.

    Args:
        db: The database.
        spec: The study.
        base_dir: Folder that its relative paths refer to.
        by_name: The spec is that of the study itself: its budget is given by nobody.

    Returns:
        The study, and whether it was created now.

    Raises:
        SpecError: Another spec has this name; the message shows what differs.
        StoreError: Optuna made a study of this name.
    """

    def work(conn: sa.Connection) -> tuple[StudyRecord, bool]:
        study_id = study_rows.id_of(conn, spec.name)
        if study_id is not None and _is_superseded(conn, spec, db, study_id):
            logger.warning("%s had no results; it begins anew with its directions", spec.name)
            study_rows.delete(conn, study_id)
            study_id = None
        if study_id is None:
            study_id = _insert_optuna(conn, spec)
            if study_id is not None:
                _insert_ours(db, conn, study_id, spec, base_dir)
                renaming.reserve_files(conn, study_id, spec.name)
                given_budget.note(conn, study_id, spec.budget)
                return _record(conn, spec.name, db), True
        record = _record(conn, spec.name, db)
        if record.digest != spec.digest:
            raise _other_spec(record, spec)
        # First, for it locks the study, which the note then does not have to.
        turn = None if record.budget == spec.budget else Turn.take(db, conn, record.study_id)
        is_new = by_name or given_budget.note(conn, record.study_id, spec.budget)
        if turn is not None and is_new:
            _update_budget(turn, _record(conn, spec.name, db), spec.budget)
            record = _record(conn, spec.name, db)
        return record, False

    return db.transaction(work)


def is_done(db: Database, study_id: int) -> bool:
    """Tells whether a study is over: one short read, for those who have nothing else to do."""
    query = sa.select(hpo_study.c.state).where(hpo_study.c.study_id == study_id)
    with db.read() as conn:
        return conn.scalar(query) == "done"


def load(db: Database, name: str) -> StudyRecord:
    """Returns the study of this name.

    Raises:
        SpecError: There is none.
        StoreError: hpo did not create it.
    """
    with db.read() as conn:
        return _record(conn, name, db)


def reload(db: Database, study: StudyRecord) -> StudyRecord:
    """Returns a study that was there before as it is now, whatever it is called by now.

    Raises:
        StoreError: It was deleted.
    """
    return load_again(db, study.study_id, study.created_at, study.name)


def load_again(db: Database, study_id: int, created_at: datetime, name: str) -> StudyRecord:
    """See `reload`; for those who know a study's id, when it was created, and its name of then.

    Raises:
        StoreError: It was deleted.
    """
    own, studies = hpo_study.c, optuna_tables.studies.c
    statement = (
        sa.select(studies.study_name)
        .join(hpo_study, own.study_id == studies.study_id)
        .where(studies.study_id == study_id, own.created_at == created_at)
    )
    with db.read() as conn:
        name_now = conn.scalar(statement)
        if name_now is None:
            raise deleted(db, name)
        return _record(conn, name_now, db)


def deleted(db: Database, name: str) -> StoreError:
    """Returns the error for a study that was there a moment ago."""
    return StoreError(
        f"the study {name} is no longer in {db.masked_url}: somebody has deleted it",
        hint="what its workers did is gone with it; its file starts it anew",
    )


def names(db: Database) -> list[str]:
    """Returns the names of hpo's studies, in alphabetical order."""
    with db.read() as conn:
        return _names(conn)


def set_state(db: Database, study_id: int, state: StudyState, reason: str | None = None) -> None:
    """Sets a study's state; workers follow at their next claim or heartbeat.

    A study that becomes done has its unfinished trials that nobody works on pruned.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> None:
        turn = Turn.take(db, conn, study_id)
        if (turn.state, turn.reason) == (state, reason):
            return
        turn.state, turn.reason = state, reason
        turn.update_study(state=state, reason=reason, updated_at=turn.now)
        turn.record([Event(study_id, state, reason or "")])
        if state == "done":
            turn.end_free_trials()

    db.transaction(work)


def set_budget(db: Database, study_id: int, budget: Budget) -> None:
    """Changes a study's budget; see `change_budget`.

    Raises:
        StoreError: There is no such study.
    """
    change_budget(db, study_id, lambda record: budget)


def change_budget(
    db: Database, study_id: int, change: Callable[[StudyRecord], Budget]
) -> tuple[StudyRecord, StudyRecord]:
    """Changes a study's budget, raising or lowering it, while nobody else can.

    A study that is done goes on if the budget grew and something of it is left; any other is done
    when as much has ended as may. Trials that are running stay, though they may be more than
    there should be, and none starts in their place; those with more epochs than there are now are
    taken back and go on towards what is left. Hours count from the study's creation.

    Args:
        db: The database.
        study_id: The study.
        change: Gives the new budget, from the study as it is.

    Returns:
        The study before and after.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> tuple[StudyRecord, StudyRecord]:
        turn = Turn.take(db, conn, study_id)
        name = study_rows.name_of(conn, study_id) or ""
        before = _record(conn, name, db)
        budget = change(before)
        if budget == before.budget:
            return before, before
        _update_budget(turn, before, budget)
        return before, _record(conn, name, db)

    return db.transaction(work)


def delete(db: Database, study_id: int) -> bool:
    """Deletes a study with everything of it, Optuna's rows and ours.

    Returns:
        False when there was no such study.
    """
    return db.transaction(lambda conn: study_rows.delete(conn, study_id))


def _is_superseded(conn: sa.Connection, spec: StudySpec, db: Database, study_id: int) -> bool:
    if spec.objective is None or not endings.has_wrong_count(conn, study_id):
        return False
    record = _record(conn, spec.name, db)
    has_same = record.spec.objective == spec.objective
    return has_same and record.state == "stopped" and record.spec.directions != spec.directions


def _insert_optuna(conn: sa.Connection, spec: StudySpec) -> int | None:
    """Inserts Optuna's rows; None when another process has just taken the name."""
    directions = [_DIRECTIONS[direction] for direction in spec.directions]
    try:
        with conn.begin_nested():
            return study_rows.create(conn, spec.name, directions or [StudyDirection.MAXIMIZE])
    except sa.exc.IntegrityError:
        return None


def _insert_ours(
    db: Database, conn: sa.Connection, study_id: int, spec: StudySpec, base_dir: str | None
) -> None:
    now = db.now(conn)
    first_token = (now - _EPOCH).total_seconds() * 1e6
    conn.execute(
        sa.insert(hpo_study).values(
            study_id=study_id,
            digest=spec.digest,
            state="active",
            base_dir=base_dir,
            epochs_spent=0,
            last_token=int(first_token),
            created_at=now,
            updated_at=now,
            spec=toml.dumps(spec),
            **vars(budgets.limits(spec, now)),
        )
    )


def _update_budget(turn: Turn, record: StudyRecord, budget: Budget) -> None:
    spec = record.spec.model_copy(update={"budget": budget})
    turn.limits = budgets.limits(spec, record.created_at).with_more_trials(spending.n_excused(turn))
    values: dict[str, Any] = {"spec": toml.dumps(spec), **vars(turn.limits)}
    if turn.state == "done" and budgets.grew(record.budget, budget):
        values |= {"state": "active", "reason": None}
        turn.state, turn.reason = "active", None
    turn.update_study(updated_at=turn.now, **values)
    turn.record([Event(turn.study_id, "budget", _changes(record.budget, budget))])
    targets.finish_if_reached(turn, reported=True)
    spending.finish_if_spent(turn)
    if spec.task is not None:
        # The steps of an objective are its own: no budget of epochs says when it is through.
        spending.recall(turn)
    if turn.state == "done":
        turn.end_free_trials()


def _changes(old: Budget, new: Budget) -> str:
    before, after = old.model_dump(), new.model_dump()
    changed = (key for key in after if before[key] != after[key])
    return ", ".join(f"{key} {_shown(before[key])} -> {_shown(after[key])}" for key in changed)


def _shown(limit: Any) -> str:
    if limit is None:
        return "none"
    return f"{limit:.4g}" if isinstance(limit, float) else str(limit)


def _record(conn: sa.Connection, name: str, db: Database) -> StudyRecord:
    studies = optuna_tables.studies
    statement = (
        sa.select(studies.c.study_id.label("optuna_id"), hpo_study)
        .join_from(studies, hpo_study, hpo_study.c.study_id == studies.c.study_id, isouter=True)
        .where(studies.c.study_name == name)
    )
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise SpecError(
            f"there is no study called {name} in {db.masked_url}{did_you_mean(name, _names(conn))}"
        )
    if row.study_id is None:
        raise StoreError(
            f"{name} was not created by hpo; choose another name, or use Optuna with it"
        )
    spec = toml.loads(row.spec, f"study {name}")
    return StudyRecord(
        study_id=row.study_id,
        name=name,
        spec=spec,
        digest=row.digest,
        state=cast(StudyState, row.state),
        base_dir=row.base_dir,
        budget=spec.budget,
        deadline_at=row.deadline_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        reason=row.reason,
        prior=row.prior,
        files=renaming.files_of(conn, row.study_id, name),
    )


def _names(conn: sa.Connection) -> list[str]:
    studies = optuna_tables.studies.c
    statement = (
        sa.select(_NAME).join(hpo_study, hpo_study.c.study_id == studies.study_id).order_by(_NAME)
    )
    return list(conn.scalars(statement))


def _other_spec(record: StudyRecord, spec: StudySpec) -> SpecError:
    difference = toml.diff(toml.dumps(record.spec), toml.dumps(spec), spec.name)
    return SpecError(
        f"another study called {spec.name} is in the database:",
        details=difference.split("\n"),
        hint=f"give this one another name, go on with the other by `hpo run {spec.name}`, or "
        "delete it with `hpo delete`",
    )
