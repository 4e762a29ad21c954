"""What a study has spent, and what follows from it when a budget changes under way."""

from __future__ import annotations

import shlex
from typing import Final

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_lease, hpo_study
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger import reaping, unfinished_trials
from hpo.store.ledger.locked_study import Turn
from hpo.store.rows import stored_specs, study_rows

CANCELLED = "cancelled"
"""Kind of the event of a trial that somebody cancelled."""
RETRIED_FROM = "retried_from"
"""User attribute of a trial that takes a failed one's place: the other's number."""

_HOURS: Final = "--hours H"
_TRIALS: Final = "--trials N"


def n_excused(turn: Turn) -> int:
    """Counts the trials that a budget of trials leaves out: the cancelled and the retried ones.

    A study's row holds its limit with these added, so that no claim has to count them; this count
    is for whoever writes the limit anew.
    """
    cancelled = (
        sa.select(trials.c.number)
        .join(hpo_event, hpo_event.c.trial_id == trials.c.trial_id)
        .where(hpo_event.c.study_id == turn.study_id, hpo_event.c.kind == CANCELLED)
    )
    return len({*turn.conn.scalars(cancelled), *retries(turn)})


def retries(turn: Turn) -> dict[int, int]:
    """Returns which trials were retried: the number of each, and that of the trial in its place."""
    attribute = optuna_tables.trial_user_attributes.c
    statement = (
        sa.select(trials.c.number, attribute.value_json)
        .join(trials, trials.c.trial_id == attribute.trial_id)
        .where(trials.c.study_id == turn.study_id, attribute.key == RETRIED_FROM)
    )
    return {int(row.value_json): row.number for row in turn.conn.execute(statement)}


def excuse(turn: Turn, n: int) -> None:
    """Leaves ``n`` more trials out of the budget of trials."""
    if n and turn.limits.n_trials is not None:
        turn.limits = turn.limits.with_more_trials(n)
        turn.update_study(n_trials=turn.limits.n_trials)


def finish_if_spent(turn: Turn) -> None:
    """Marks a study done when its deadline has passed or as much has ended as may."""
    if turn.state == "done":
        return
    option = _spent(turn)
    if option is not None:
        reasons = {_HOURS: "deadline", _TRIALS: end_of_trials(turn)}
        turn.finish_study(reasons.get(option, "budget"))


def end_of_trials(turn: Turn) -> str:
    """Returns why no trial may begin: the budget, or ``exhausted`` where a grid has no more points.

    A grid has as many trials as points, if its budget has not fewer.
    """
    left = unfinished_trials.epochs_left(turn)
    limit = turn.limits.n_trials
    if limit is None or (left is not None and left <= 0):
        return "budget"
    text = turn.conn.scalar(
        sa.select(hpo_study.c.spec).where(hpo_study.c.study_id == turn.study_id)
    )
    table = stored_specs.read_table(text, study_rows.name_of(turn.conn, turn.study_id) or "")
    sampler, budget = table.get("sampler"), table.get("budget")
    name = sampler.get("name") if isinstance(sampler, dict) else sampler
    given = budget.get("trials") if isinstance(budget, dict) else None
    if name != "grid" or (given is not None and limit >= given + n_excused(turn)):
        return "budget"
    return "exhausted"


def way_to_more(db: Database, study_id: int) -> str:
    """Returns the command that gives a study more to do; nothing while its budget has some left.

    What a stopped study still runs counts as ended: it is about to. No budget helps a grid of which
    every point was tried.
    """
    with db.read() as conn:
        return more(Turn.glance(db, conn, study_id))


def more(turn: Turn) -> str:
    """Returns the command of `way_to_more`, of the study of a turn."""
    option = _spent(turn, _n_held(turn) if turn.state == "stopped" else 0)
    if option == _TRIALS and end_of_trials(turn) == "exhausted":
        return ""
    name = shlex.quote(study_rows.name_of(turn.conn, turn.study_id) or "")
    return "" if option is None else f"hpo update {name} {option}"


def _spent(turn: Turn, n_ending: int = 0) -> str | None:
    """Returns the option of the part of a budget that is spent; None where all have some left."""
    limits = turn.limits
    if limits.deadline_at is not None and turn.now >= limits.deadline_at:
        return _HOURS
    if limits.n_trials is not None and _n_ended(turn) + n_ending >= limits.n_trials:
        return _TRIALS
    if limits.total_epochs is not None and _n_epochs(turn) >= limits.total_epochs:
        return "--total-epochs N"
    return None


def recall(turn: Turn) -> None:
    """Takes back the trials that were promised more epochs than there are now.

    Their workers learn of it with their next report, lose the epoch that they are in, and claim
    again: the trials go on from their checkpoints, towards what is left.
    """
    lease, limits = hpo_lease.c, turn.limits
    left = unfinished_trials.epochs_left(turn)
    if left is not None and left < 0:
        reaping.free(turn, sa.true())
    elif limits.epochs is not None:
        reaping.free(turn, lease.epoch_stop > limits.epochs)


def _n_ended(turn: Turn) -> int:
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    statement = sa.select(sa.func.count()).where(
        trials.c.study_id == turn.study_id, trials.c.state.in_(ended)
    )
    return int(turn.conn.execute(statement).scalar_one())


def _n_held(turn: Turn) -> int:
    """Counts the trials that workers have."""
    lease = hpo_lease.c
    statement = sa.select(sa.func.count()).where(
        lease.study_id == turn.study_id, lease.worker_id.is_not(None)
    )
    return int(turn.conn.execute(statement).scalar_one())


def _n_epochs(turn: Turn) -> int:
    lease = hpo_lease.c
    statement = sa.select(sa.func.sum(lease.epoch)).where(lease.study_id == turn.study_id)
    return turn.epochs_spent + int(turn.conn.execute(statement).scalar() or 0)
