"""Claims: trials handed out to a worker, under the study's lock, which makes budgets exact."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import StoreError
from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger import budgets, fences, reaping, spending, unfinished_trials
from hpo.store.ledger.budgets import UNBOUNDED_EPOCHS
from hpo.store.ledger.claim_survey import ClaimSurvey, survey
from hpo.store.ledger.leases import AssignmentRequests, Claim, Lease
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.ledger.reaping import ReapingPolicy
from hpo.store.ledger.unfinished_trials import ClaimRequest, UnfinishedTrial
from hpo.store.rows import trial_rows
from hpo.store.rows.upserts import UpsertTarget

_HEARTBEATS_PER_GAP = 20
"""A claim writes a heartbeat only if the last is older than `ReapingPolicy.gap_s` / 20: few writes,
and far from the gap."""

_LEASES = UpsertTarget(
    hpo_lease, ("trial_id",), tuple(c.name for c in hpo_lease.c if not c.primary_key)
)


def grant(locked: LockedStudy, request: ClaimRequest, policy: ReapingPolicy) -> Claim:
    """Answers a worker's claim; see `Ledger.claim`."""
    found = _survey(locked, request, policy)
    if found.has_suspects:
        reaping.release_dead(locked, policy)
        # The trials of dead workers can be resumed now.
        found = found._replace(has_interrupted=True)
    if found.has_ended_elsewhere:
        drop_ended_elsewhere(locked)
    closed = _closed(locked)
    if closed is not None:
        return closed
    if request.n <= 0:
        return Claim((), exhausted=False, reason="waiting")
    return _grant_open(locked, request, found)


def _survey(locked: LockedStudy, request: ClaimRequest, policy: ReapingPolicy) -> ClaimSurvey:
    """Surveys the study, and writes the worker's heartbeat if the last one is old.

    A worker that claims is alive, also if it was taken for dead: only its trials were given away.
    """
    found = survey(locked, request, policy)
    if found is None:
        raise StoreError(
            f"worker {request.worker_id} is not registered with study {locked.study_id}"
        )
    silent_s = (locked.now - found.heartbeat_at).total_seconds()
    is_recent = 0 <= silent_s < policy.gap_s / _HEARTBEATS_PER_GAP
    if found.ended_at is not None or not is_recent:
        locked.conn.execute(
            sa.update(hpo_worker)
            .where(hpo_worker.c.worker_id == request.worker_id)
            .ordered_values(*reaping.heard(locked.now, policy), (hpo_worker.c.ended_at, None))
        )
    return found


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


def _closed(locked: LockedStudy) -> Claim | None:
    """Returns the answer of a study that hands out nothing at all; None where it may."""
    if locked.state == "paused":
        return Claim((), exhausted=False, reason="paused")
    if locked.state == "active":
        deadline_at = locked.limits.deadline_at
        if deadline_at is None or locked.now < deadline_at:
            return None
        locked.finish_study("deadline")
    if locked.state == "stopped":
        return Claim((), exhausted=True, reason="stopped")
    locked.prune_unowned_trials()
    return Claim((), exhausted=True, reason=locked.reason or "done")


def _grant_open(locked: LockedStudy, request: ClaimRequest, found: ClaimSurvey) -> Claim:
    """Grants trials whose response was lost, interrupted, waiting and new ones, in this order."""
    may_pause, n = request.may_pause, request.n
    lost = unfinished_trials.lost_responses(locked, request) if found.n_owned else []
    n -= len(lost)
    interrupted = (
        unfinished_trials.interrupted(locked, n, may_pause=may_pause)
        if found.has_interrupted
        else []
    )
    n -= len(interrupted)
    n_new = budgets.n_startable(locked.limits.n_trials, found.n_started, n)
    waiting = unfinished_trials.waiting(locked, n_new) if found.has_waiting else []
    n, n_new, n_missed = n - len(waiting), n_new - len(waiting), 0
    if request.assignments is None:
        rest = [UnfinishedTrial("new")] * n_new
    else:
        first_stop = request.assignments.first_stop
        waiting = [replace(trial, epoch_stop=first_stop) for trial in waiting]
        possible, n_missed = _possible(locked, request, interrupted)
        rest = _first(possible, n, n_new)
    chosen = _funded(locked, [*interrupted, *waiting, *rest], may_pause=may_pause)
    continued = [*lost, *(trial for trial in chosen if trial.kind in ("unowned", "held"))]
    starting = [trial for trial in chosen if trial.kind in ("waiting", "new")]
    if continued or starting:
        started = _start(locked, starting, found)
        leases = _write_leases(locked, request.worker_id, continued, started)
        return Claim(leases, exhausted=False, reason="", n_missed=n_missed)
    return replace(_nothing_left(locked, request.assignments), n_missed=n_missed)


def _possible(
    locked: LockedStudy, request: ClaimRequest, granted: Sequence[UnfinishedTrial]
) -> tuple[list[UnfinishedTrial], int]:
    """Returns the requested trials that can still be granted, and how many requests missed.

    Args:
        locked: The study.
        request: With assignments.
        granted: Interrupted trials. The worker may have asked for one of them: it was suspended
            after the worker had last looked.
    """
    assert request.assignments is not None
    possible = unfinished_trials.requested(locked, request)
    n_missed = len(request.assignments.ordered) - len(possible)
    if n_missed:
        # A trial that the worker believes to be paused may have been ended by another program.
        drop_ended_elsewhere(locked)
    given = {trial.trial_id for trial in granted}
    return [trial for trial in possible if trial.trial_id not in given], n_missed


def _first(wanted: Sequence[UnfinishedTrial], n: int, n_new: int) -> list[UnfinishedTrial]:
    """Returns the first ``n`` of them, with at most ``n_new`` new trials."""
    new = itertools.islice((trial for trial in wanted if trial.kind == "new"), n_new)
    may_start = {id(trial) for trial in new}
    left = [trial for trial in wanted if trial.kind != "new" or id(trial) in may_start]
    return left[: max(0, n)]


def _funded(
    locked: LockedStudy, wanted: Sequence[UnfinishedTrial], *, may_pause: bool
) -> list[UnfinishedTrial]:
    """Returns the trials that the budget of epochs allows, each with its ``epoch_stop``."""
    epochs = locked.limits.epochs or UNBOUNDED_EPOCHS
    goals = [min(epochs, trial.epoch_stop) if may_pause else epochs for trial in wanted]
    wants = [max(0, goal - trial.epoch) for goal, trial in zip(goals, wanted, strict=True)]
    given = budgets.shares(wants, unfinished_trials.epochs_left(locked) if wanted else None)
    return [
        replace(trial, epoch_stop=trial.epoch + share)
        for trial, want, share in zip(wanted, wants, given, strict=True)
        # A trial that has all its epochs is handed out to be settled.
        if share or not want
    ]


def _start(
    locked: LockedStudy, starting: Sequence[UnfinishedTrial], found: ClaimSurvey
) -> list[UnfinishedTrial]:
    """Sets waiting trials to Optuna's state RUNNING, and creates the new ones in it."""
    waiting = [trial for trial in starting if trial.kind == "waiting"]
    new = [trial for trial in starting if trial.kind == "new"]
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
    last = (found.last_id or 0, -1 if found.last_number is None else found.last_number)
    added = trial_rows.add_trials(
        locked.conn, locked.study_id, len(new), started_at=locked.now, last=last
    )
    created = [
        replace(trial, trial_id=trial_id, number=number)
        for trial, (trial_id, number) in zip(new, added, strict=True)
    ]
    return [*waiting, *created]


def _write_leases(
    locked: LockedStudy,
    worker_id: int,
    continued: Sequence[UnfinishedTrial],
    started: Sequence[UnfinishedTrial],
) -> tuple[Lease, ...]:
    """Writes the leases, each with a token of its own, in two statements for any number."""
    given = [*continued, *started]
    kept = sum(trial.kind == "held" for trial in given)
    fresh = iter(locked.next_tokens(len(given) - kept))
    # A trial that its worker continues keeps its token: reports may be under way.
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
    old, new = leases[: len(continued)], leases[len(continued) :]
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


def _nothing_left(locked: LockedStudy, asked: AssignmentRequests | None) -> Claim:
    """Answers a claim that gets nothing; ends the study if there is nothing to wait for.

    A study whose trials pause ends when its epochs are spent, or when a worker has found that
    nothing is worth doing and nothing was granted since.
    """
    lease = hpo_lease.c
    owned = sa.select(lease.trial_id).where(
        lease.study_id == locked.study_id, lease.worker_id.is_not(None)
    )
    if locked.conn.execute(owned.limit(1)).scalar() is not None:
        # Their workers may die, or stop early, which leaves epochs of the budget.
        return Claim((), exhausted=False, reason="waiting")
    reason = "budget"
    if asked is not None:
        left = unfinished_trials.epochs_left(locked)
        if left is None or left > 0:
            if asked.finished_at != locked.last_token:
                return Claim((), exhausted=False, reason="waiting")
            reason = asked.reason
    if reason == "budget":
        reason = spending.end_of_trials(locked)
    locked.finish_study(reason)
    locked.prune_unowned_trials()
    return Claim((), exhausted=True, reason=reason)
