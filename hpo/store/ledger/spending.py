"""Budget spending: what a study has spent of its budget, and the ends that this brings."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_lease, hpo_study
from hpo.store.db.optuna_tables import (
    IntermediateType,
    ValueType,
    study_directions,
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.store.ledger import reaping, unfinished_trials
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import stored_specs, study_rows

CANCELLED = "cancelled"
"""Kind of the event of a cancelled trial."""
RETRIED_FROM = "retried_from"
"""User attribute of a trial that retries a failed one: the number of the failed trial."""

# The options of `hpo update` that give a study more of a budget.
_HOURS: Final = "--hours H"
_TRIALS: Final = "--trials N"


def n_exempt(locked: LockedStudy) -> int:
    """Returns how many trials do not count against the budget: cancelled and retried ones.

    A study's row holds its limit with these added, so that no claim has to count them. They are
    counted when the limit is written anew.
    """
    cancelled = (
        sa.select(trials.c.number)
        .join(hpo_event, hpo_event.c.trial_id == trials.c.trial_id)
        .where(hpo_event.c.study_id == locked.study_id, hpo_event.c.kind == CANCELLED)
    )
    return len({*locked.conn.scalars(cancelled), *retries(locked)})


def retries(locked: LockedStudy) -> dict[int, int]:
    """Returns the retried trials: the number of each, and that of the trial in its place."""
    attribute = optuna_tables.trial_user_attributes.c
    statement = (
        sa.select(trials.c.number, attribute.value_json)
        .join(trials, trials.c.trial_id == attribute.trial_id)
        .where(trials.c.study_id == locked.study_id, attribute.key == RETRIED_FROM)
    )
    return {int(row.value_json): row.number for row in locked.conn.execute(statement)}


def exempt(locked: LockedStudy, n: int) -> None:
    """Exempts ``n`` more trials from the budget of trials."""
    if n and locked.limits.n_trials is not None:
        locked.limits = locked.limits.with_more_trials(n)
        locked.update_study(n_trials=locked.limits.n_trials)


def finish_if_spent(locked: LockedStudy) -> None:
    """Marks a study done when its deadline has passed or a part of its budget is spent."""
    if locked.state == "done":
        return
    option = _spent(locked)
    if option is not None:
        reasons = {_HOURS: "deadline", _TRIALS: end_of_trials(locked)}
        locked.finish_study(reasons.get(option, "budget"))


def end_of_trials(locked: LockedStudy) -> str:
    """Returns why no trial may start: ``budget``, or ``exhausted`` where a grid has no more points.

    A grid has as many trials as points, or fewer by its budget.
    """
    left = unfinished_trials.epochs_left(locked)
    limit = locked.limits.n_trials
    if limit is None or (left is not None and left <= 0):
        return "budget"
    text = locked.conn.scalar(
        sa.select(hpo_study.c.spec).where(hpo_study.c.study_id == locked.study_id)
    )
    table = stored_specs.read_table(text, study_rows.name_of(locked.conn, locked.study_id) or "")
    sampler, budget = table.get("sampler"), table.get("budget")
    name = sampler.get("name") if isinstance(sampler, dict) else sampler
    given = budget.get("trials") if isinstance(budget, dict) else None
    if name != "grid" or (given is not None and limit >= given + n_exempt(locked)):
        return "budget"
    return "exhausted"


def extension_command(db: Database, study_id: int) -> str:
    """Returns the command that extends a study's budget; empty while some of it is left.

    Trials that a stopped study still runs count as ended. A grid of which every point was tried
    has no such command.
    """
    with db.read() as conn:
        return extension_command_of(LockedStudy.unlocked(db, conn, study_id))


def extension_command_of(locked: LockedStudy) -> str:
    """Returns the command of `extension_command`, in the caller's transaction."""
    option = _spent(locked, _n_held(locked) if locked.state == "stopped" else 0)
    if option == _TRIALS and end_of_trials(locked) == "exhausted":
        return ""
    name = shlex.quote(study_rows.name_of(locked.conn, locked.study_id) or "")
    return "" if option is None else f"hpo update {name} {option}"


def release_over_budget(locked: LockedStudy) -> None:
    """Releases the trials whose leases reserve more epochs than the budget has now.

    Their workers learn of it by their next report, lose the epoch that they train, and claim again:
    the trials resume from their checkpoints, with fewer epochs.
    """
    lease, limits = hpo_lease.c, locked.limits
    left = unfinished_trials.epochs_left(locked)
    if left is not None and left < 0:
        reaping.release(locked, sa.true())
    elif limits.epochs is not None:
        reaping.release(locked, lease.epoch_stop > limits.epochs)


def target_of(db: Database, study_id: int) -> float | None:
    """Returns the target of a study that is active, or was ended by it; else None."""
    study = hpo_study.c
    ended_by_it = sa.and_(study.state == "done", study.reason == "target")
    statement = sa.select(study.target).where(
        study.study_id == study_id, sa.or_(study.state == "active", ended_by_it)
    )
    with db.read() as conn:
        return conn.scalar(statement)


def reaches_target(
    conn: sa.Connection, study_id: int, target: float, values: Iterable[float]
) -> bool:
    """Returns whether one of these values of a study's first objective reaches a target."""
    up = _is_maximized(conn, study_id)
    return any(value >= target if up else value <= target for value in values)


def finish_if_values_reach_target(locked: LockedStudy, values: Iterable[float]) -> None:
    """Marks an active study done when one of these values reaches the target."""
    target = locked.limits.target
    if target is None or locked.state != "active":
        return
    if reaches_target(locked.conn, locked.study_id, target, values):
        locked.finish_study("target")


def finish_if_target_reached(locked: LockedStudy, *, reported: bool = False) -> None:
    """Marks an active study done when one of its COMPLETE trials reaches the target.

    It reads every value of the study: for when the target changes, and for trials that other
    programs have completed.

    Args:
        locked: The study.
        reported: Consider also the intermediate values of trials of any state.
    """
    target = locked.limits.target
    if target is None or locked.state != "active":
        return
    up = _is_maximized(locked.conn, locked.study_id)
    found = locked.conn.scalar(_completed(locked.study_id, target, up))
    if found is None and reported:
        found = locked.conn.scalar(_reported(locked.study_id, target, up))
    if found is not None:
        locked.finish_study("target")


def _spent(locked: LockedStudy, n_ending: int = 0) -> str | None:
    """Returns the option that extends the part of a budget that is spent; None where none is."""
    limits = locked.limits
    if limits.deadline_at is not None and locked.now >= limits.deadline_at:
        return _HOURS
    if limits.n_trials is not None and _n_ended(locked) + n_ending >= limits.n_trials:
        return _TRIALS
    if limits.total_epochs is not None and _n_epochs(locked) >= limits.total_epochs:
        return "--total-epochs N"
    return None


def _n_ended(locked: LockedStudy) -> int:
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    statement = sa.select(sa.func.count()).where(
        trials.c.study_id == locked.study_id, trials.c.state.in_(ended)
    )
    return int(locked.conn.execute(statement).scalar_one())


def _n_held(locked: LockedStudy) -> int:
    """Returns how many trials workers own."""
    lease = hpo_lease.c
    statement = sa.select(sa.func.count()).where(
        lease.study_id == locked.study_id, lease.worker_id.is_not(None)
    )
    return int(locked.conn.execute(statement).scalar_one())


def _n_epochs(locked: LockedStudy) -> int:
    lease = hpo_lease.c
    statement = sa.select(sa.func.sum(lease.epoch)).where(lease.study_id == locked.study_id)
    return locked.epochs_spent + int(locked.conn.execute(statement).scalar() or 0)


def _completed(study_id: int, target: float, up: bool) -> sa.Select[tuple[int]]:
    value = trial_values.c
    infinite = value.value_type == (ValueType.INF_POS if up else ValueType.INF_NEG)
    good = value.value >= target if up else value.value <= target
    return (
        sa.select(value.trial_id)
        .join(trials, trials.c.trial_id == value.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == TrialState.COMPLETE,
            value.objective == 0,
            sa.or_(infinite, sa.and_(value.value_type == ValueType.FINITE, good)),
        )
        .limit(1)
    )


def _reported(study_id: int, target: float, up: bool) -> sa.Select[tuple[int]]:
    column = trial_intermediate_values.c
    value, kind = column.intermediate_value, column.intermediate_value_type
    infinite = kind == (IntermediateType.INF_POS if up else IntermediateType.INF_NEG)
    good = value >= target if up else value <= target
    return (
        sa.select(column.trial_id)
        .join(trials, trials.c.trial_id == column.trial_id)
        .where(
            trials.c.study_id == study_id,
            sa.or_(infinite, sa.and_(kind == IntermediateType.FINITE, good)),
        )
        .limit(1)
    )


def _is_maximized(conn: sa.Connection, study_id: int) -> bool:
    direction = study_directions.c
    statement = sa.select(direction.direction).where(
        direction.study_id == study_id, direction.objective == 0
    )
    return conn.execute(statement).scalar() is StudyDirection.MAXIMIZE
