"""Handing out work: exact under any number of workers, for every claim holds the study's lock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import StoreError
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger import budgets, fences, reaping, spending, unfinished_trials
from hpo.store.ledger.budgets import UNBOUNDED_EPOCHS
from hpo.store.ledger.claim_survey import ClaimSurvey, survey
from hpo.store.ledger.leases import AssignmentRequests, Claim, Lease
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.ledger.reaping import Patience
from hpo.store.ledger.unfinished_trials import Request, UnfinishedTrial
from hpo.store.rows import trial_rows
from hpo.store.rows.upserts import UpsertTarget

# A worker that was heard just now is not written down again: so many times within the gap after
# which it is no witness any more.
_LOOKS_PER_GAP = 20

_LEASES = UpsertTarget(
    hpo_lease, ("trial_id",), tuple(c.name for c in hpo_lease.c if not c.primary_key)
)


def claim(db: Database, study_id: int, request: Request, patience: Patience) -> Claim:
    """See `Ledger.claim`."""

    def work(conn: sa.Connection) -> Claim:
        locked = LockedStudy.take(db, conn, study_id)
        seen = _seen(locked, request, patience)
        if seen.has_suspects:
            reaping.free_dead(locked, patience)
            # What they had is to be continued now.
            seen = seen._replace(has_free=True)
        if seen.has_ended:
            drop_ended_elsewhere(locked)
        refusal = _refusal(locked)
        if refusal is not None:
            return refusal
        if request.n <= 0:
            return Claim((), exhausted=False, reason="waiting")
        return _grant(locked, request, seen)

    return db.transaction(work)


def _seen(locked: LockedStudy, request: Request, patience: Patience) -> ClaimSurvey:
    """Looks at the study, and notes that the worker lives.

    Whoever claims lives, whatever has been believed of it: its trials were given away, that is
    all.
    """
    seen = survey(locked, request, patience)
    if seen is None:
        raise StoreError(
            f"worker {request.worker_id} is not registered with study {locked.study_id}"
        )
    silent_s = (locked.now - seen.heartbeat_at).total_seconds()
    if seen.ended_at is not None or not 0 <= silent_s < patience.gap_s / _LOOKS_PER_GAP:
        locked.conn.execute(
            sa.update(hpo_worker)
            .where(hpo_worker.c.worker_id == request.worker_id)
            .ordered_values(*reaping.heard(locked.now, patience), (hpo_worker.c.ended_at, None))
        )
    return seen


def drop_ended_elsewhere(locked: LockedStudy) -> None:
    """Removes leases of trials that another program has finished, such as plain Optuna."""
    statement = (
        sa.select(hpo_lease.c.trial_id, hpo_lease.c.token, hpo_lease.c.epoch, trials.c.state)
        .join(trials, trials.c.trial_id == hpo_lease.c.trial_id)
        .where(hpo_lease.c.study_id == locked.study_id, trials.c.state != TrialState.RUNNING)
    )
    ended = locked.conn.execute(statement).all()
    if ended:
        spent = {row.trial_id: row.epoch for row in ended}
        locked.end_trials(spent, TrialState.FAIL)


def _refusal(locked: LockedStudy) -> Claim | None:
    """Returns the answer when the study gives no work out at all, else None."""
    if locked.state == "paused":
        return Claim((), exhausted=False, reason="paused")
    if locked.state == "active":
        deadline_at = locked.limits.deadline_at
        if deadline_at is not None and locked.now >= deadline_at:
            locked.finish_study("deadline")
        else:
            return None
    if locked.state == "stopped":
        return Claim((), exhausted=True, reason="stopped")
    locked.end_free_trials()
    return Claim((), exhausted=True, reason=locked.reason or "done")


def _grant(locked: LockedStudy, request: Request, seen: ClaimSurvey) -> Claim:
    """Hands out what is mislaid, free, waiting and new, in this order."""
    wishes = request.wishes
    mislaid = unfinished_trials.mislaid(locked, request) if seen.n_owned else []
    n = request.n - len(mislaid)
    free = (
        unfinished_trials.orphans(locked, n, may_pause=wishes is not None) if seen.has_free else []
    )
    n -= len(free)
    may_start = budgets.n_startable(locked.limits.n_trials, seen.n_started, n)
    waiting = unfinished_trials.waiting(locked, may_start) if seen.has_waiting else []
    n, may_start = n - len(waiting), may_start - len(waiting)
    if wishes is None:
        wanted = [*free, *waiting, *[UnfinishedTrial("new")] * may_start]
        n_missed = 0
    else:
        waiting = [replace(trial, epoch_stop=wishes.first_stop) for trial in waiting]
        possible = unfinished_trials.wished(locked, request)
        n_missed = len(wishes.ordered) - len(possible)
        if n_missed:
            # What it believes to be paused may have been ended by another program.
            drop_ended_elsewhere(locked)
        # Somebody may have put down just now what was paused when the wish was made.
        given = {trial.trial_id for trial in free}
        possible = [trial for trial in possible if trial.trial_id not in given]
        wanted = [*free, *waiting, *_within(possible, n, may_start)]
    chosen = _funded(locked, wanted, may_pause=wishes is not None)
    going_on = [*mislaid, *(trial for trial in chosen if trial.kind in ("free", "held"))]
    starting = _start(locked, [trial for trial in chosen if trial.kind in ("waiting", "new")], seen)
    if going_on or starting:
        leases = _hand_out(locked, request.worker_id, going_on, starting)
        return Claim(leases, exhausted=False, reason="", n_missed=n_missed)
    return replace(_nothing_left(locked, wishes), n_missed=n_missed)


def _within(wanted: Sequence[UnfinishedTrial], n: int, n_new: int) -> list[UnfinishedTrial]:
    """Returns the first ``n`` of them, with at most ``n_new`` new trials."""
    new = itertools.islice((trial for trial in wanted if trial.kind == "new"), n_new)
    may_start = {id(trial) for trial in new}
    left = [trial for trial in wanted if trial.kind != "new" or id(trial) in may_start]
    return left[: max(0, n)]


def _funded(
    locked: LockedStudy, wanted: Sequence[UnfinishedTrial], *, may_pause: bool
) -> list[UnfinishedTrial]:
    """Returns the candidates that the budget of epochs allows, each with its ``epoch_stop``."""
    epochs = locked.limits.epochs or UNBOUNDED_EPOCHS
    goals = [min(epochs, trial.epoch_stop) if may_pause else epochs for trial in wanted]
    wants = [max(0, goal - trial.epoch) for goal, trial in zip(goals, wanted, strict=True)]
    given = budgets.shares(wants, unfinished_trials.epochs_left(locked) if wanted else None)
    return [
        replace(trial, epoch_stop=trial.epoch + share)
        for trial, want, share in zip(wanted, wants, given, strict=True)
        # A trial that has all its epochs still has to be settled by somebody.
        if share or not want
    ]


def _start(
    locked: LockedStudy, chosen: Sequence[UnfinishedTrial], seen: ClaimSurvey
) -> list[UnfinishedTrial]:
    """Turns waiting trials and new ones into RUNNING trials of Optuna's."""
    waiting = [trial for trial in chosen if trial.kind == "waiting"]
    new = [trial for trial in chosen if trial.kind == "new"]
    if waiting:
        trial_rows.change_state(
            locked.conn,
            fences.ids(waiting),
            TrialState.RUNNING,
            locked.now,
            only_from=(TrialState.WAITING,),
        )
    if not new:
        return waiting
    last = (seen.last_id or 0, -1 if seen.last_number is None else seen.last_number)
    added = trial_rows.add_trials(
        locked.conn, locked.study_id, len(new), started_at=locked.now, last=last
    )
    born = [
        replace(trial, trial_id=trial_id, number=number)
        for trial, (trial_id, number) in zip(new, added, strict=True)
    ]
    return [*waiting, *born]


def _hand_out(
    locked: LockedStudy,
    worker_id: int,
    going_on: Sequence[UnfinishedTrial],
    starting: Sequence[UnfinishedTrial],
) -> tuple[Lease, ...]:
    """Grants the leases, each with a token of its own: two statements for any number."""
    given = [*going_on, *starting]
    kept = sum(trial.kind == "held" for trial in given)
    fresh = iter(locked.next_tokens(len(given) - kept))
    # Whoever goes on with a trial that it has shall not lose what it is just writing.
    tokens = [trial.token if trial.kind == "held" else next(fresh) for trial in given]
    leases = [
        Lease(
            study_id=locked.study_id,
            trial_id=trial.trial_id,
            number=trial.number,
            worker_id=worker_id,
            token=token,
            attempt=trial.attempt,
            epoch=trial.epoch,
            epoch_stop=trial.epoch_stop,
            checkpoint=trial.checkpoint,
            seconds=trial.seconds,
            is_new=trial.kind == "new",
        )
        for trial, token in zip(given, tokens, strict=True)
    ]
    old, new = leases[: len(going_on)], leases[len(going_on) :]
    for part in fences.chunks(old):
        locked.conn.execute(_regrant(part, locked))
    trial_rows.write_rows(locked.conn, _LEASES, [_lease_row(lease, locked) for lease in new])
    return tuple(leases)


def _regrant(leases: Sequence[Lease], locked: LockedStudy) -> sa.Update:
    column = hpo_lease.c
    stops = {lease.trial_id: lease.epoch_stop for lease in leases}
    tokens = {lease.trial_id: lease.token for lease in leases}
    return (
        sa.update(hpo_lease)
        .where(column.trial_id.in_(fences.ids(leases)))
        .values(
            worker_id=leases[0].worker_id,
            token=fences.by_trial(column.token, tokens),
            epoch_stop=fences.by_trial(column.epoch_stop, stops),
            updated_at=locked.now,
        )
    )


def _lease_row(lease: Lease, locked: LockedStudy) -> dict[str, Any]:
    row = asdict(lease) | {"updated_at": locked.now}
    for name in ("number", "seconds", "is_new"):
        del row[name]
    return row


def _nothing_left(locked: LockedStudy, wishes: AssignmentRequests | None) -> Claim:
    """Tells waiting for others from a budget that is used up, and ends the study if it is.

    A study whose trials pause ends when its epochs are spent, or when somebody has found that
    nothing is worth doing and nothing was granted since.
    """
    lease = hpo_lease.c
    owned = sa.select(lease.trial_id).where(
        lease.study_id == locked.study_id, lease.worker_id.is_not(None)
    )
    if locked.conn.execute(owned.limit(1)).scalar() is not None:
        # They may die and leave their trials, or stop early and give epochs back.
        return Claim((), exhausted=False, reason="waiting")
    reason = "budget"
    if wishes is not None:
        left = unfinished_trials.epochs_left(locked)
        if left is None or left > 0:
            if wishes.finished_at != locked.last_token:
                return Claim((), exhausted=False, reason="waiting")
            reason = wishes.reason
    if reason == "budget":
        reason = spending.end_of_trials(locked)
    locked.finish_study(reason)
    locked.end_free_trials()
    return Claim((), exhausted=True, reason=reason)
