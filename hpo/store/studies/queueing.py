"""Queueing: trials enqueued with given params, or again after they failed.

A waiting trial holds its params as Optuna's `enqueue_trial` writes them, so plain Optuna may run it
as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import Problem, SpecError
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import trial_params, trials
from hpo.store.ledger import spending
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.rows import events, trial_reader, trial_rows
from hpo.store.rows.events import Event
from hpo.store.rows.study_rows import CONFIRMS
from hpo.store.rows.trial_reader import Head
from hpo.store.studies import control

FIXED_PARAMS = "fixed_params"
"""Optuna's system attribute with the params that a trial must be given."""
_RETRIABLE = (TrialState.FAIL, TrialState.PRUNED)


@dataclass(frozen=True)
class _Failed:
    """A trial that may be retried, and why it failed."""

    head: Head
    reason: str


def enqueue(db: Database, study_id: int, params: Mapping[str, Any], n: int = 1) -> list[int]:
    """Adds ``n`` waiting trials with these params; the sampler draws the others when they start.

    Args:
        db: The database.
        study_id: The study.
        params: Values for JSON, by name; the caller has checked them.
        n: How many.

    Returns:
        The numbers of the trials, ascending.

    Raises:
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> list[int]:
        locked = LockedStudy.lock(db, conn, study_id)
        added = _add(locked, [({FIXED_PARAMS: dict(params)}, {}) for _ in range(n)])
        given = ", ".join(f"{name} = {value}" for name, value in params.items())
        locked.record([Event(study_id, "enqueued", f"{_listed(added)} with {given}")])
        return added

    return db.transaction(work)


def known_distributions(db: Database, study_id: int) -> dict[str, list[BaseDistribution]]:
    """Returns the distributions that the trials of a study have used, the latest first, by name."""
    p = trial_params.c
    latest = sa.func.max(p.param_id)
    query = (
        sa.select(p.param_name, p.distribution_json)
        .join(trials, trials.c.trial_id == p.trial_id)
        .where(trials.c.study_id == study_id)
        .group_by(p.param_name, p.distribution_json)
        .order_by(latest.desc())
    )
    known: dict[str, list[BaseDistribution]] = {}
    with db.read() as conn:
        for name, text in conn.execute(query):
            known.setdefault(name, []).append(trial_reader.parse_distribution(text))
    return known


def retry(
    db: Database, study_id: int, numbers: Collection[int] = (), reasons: Collection[str] = ()
) -> dict[int, int]:
    """Enqueues failed trials again, as new trials with the same params.

    A finished trial never changes, so the failed one stays as it is; the new one names it in its
    user attribute ``retried_from`` and takes its place in the budget of trials: retrying ``k``
    trials allows ``k`` more. The epochs that the failed one spent stay spent. A study that is done
    because its trials were spent continues.

    Args:
        db: The database.
        study_id: The study.
        numbers: Trials that failed or diverged; none for all that failed, were not cancelled and
            not retried before.
        reasons: Only trials that failed for one of these; with ``nan`` those that were pruned
            because they diverged, too.

    Returns:
        The number of each retried trial and of the one in its place.

    Raises:
        SpecError: A number is of no failed trial, or of one that was retried; nothing was done.
        StoreError: There is no such study.
    """

    def work(conn: sa.Connection) -> dict[int, int]:
        locked = LockedStudy.lock(db, conn, study_id)
        before = spending.retries(locked)
        if numbers:
            control.require(locked, numbers, _RETRIABLE, "has not failed")
        found = [
            trial for trial in _failed(locked, numbers) if _is_chosen(trial, bool(numbers), reasons)
        ]
        if numbers:
            _require_failed(numbers, found, before, reasons)
        chosen = [trial for trial in found if trial.head.number not in before]
        pairs = _retry(locked, chosen)
        spending.exempt(locked, sum(trial.reason != spending.CANCELLED for trial in chosen))
        _reopen(locked)
        return pairs

    return db.transaction(work)


def _is_chosen(trial: _Failed, is_named: bool, reasons: Collection[str]) -> bool:
    if reasons:
        return trial.reason in reasons
    return is_named or (trial.head.state is TrialState.FAIL and trial.reason != spending.CANCELLED)


def _failed(locked: LockedStudy, numbers: Collection[int]) -> list[_Failed]:
    """Returns the trials that failed or diverged, those with a number or all, oldest first."""
    t = trials.c
    statement = (
        sa.select(t.trial_id, t.number, t.state, t.datetime_start, t.datetime_complete)
        .where(t.study_id == locked.study_id, t.state.in_(_RETRIABLE))
        .order_by(t.trial_id)
    )
    heads = [Head(*row) for row in locked.conn.execute(statement)]
    heads = [head for head in heads if not numbers or head.number in numbers]
    last = events.last_of(locked.conn, [head.trial_id for head in heads])
    found = [
        _Failed(head, last[head.trial_id].kind if head.trial_id in last else "failed")
        for head in heads
    ]
    return [x for x in found if x.head.state is TrialState.FAIL or x.reason == "nan"]


def _require_failed(
    numbers: Collection[int],
    found: Sequence[_Failed],
    before: Mapping[int, int],
    reasons: Collection[str],
) -> None:
    chosen = {trial.head.number for trial in found}
    otherwise = "did not fail for this reason" if reasons else "was pruned, it did not fail"
    problems = [
        Problem(
            f"trial {number}",
            f"was retried as trial {before[number]}" if number in before else otherwise,
        )
        for number in sorted(set(numbers))
        if number not in chosen or number in before
    ]
    if problems:
        raise SpecError("nothing was retried", problems=problems)


def _retry(locked: LockedStudy, chosen: Sequence[_Failed]) -> dict[int, int]:
    if not chosen:
        return {}
    old = [trial.head for trial in chosen]
    read = trial_reader.read_trials(locked.conn, old, intermediate=False)
    attrs = [(_kept(trial), {spending.RETRIED_FROM: trial.number}) for trial in read]
    pairs = dict(zip((head.number for head in old), _add(locked, attrs), strict=True))
    told = ", ".join(f"{old} as {new}" for old, new in pairs.items())
    locked.record([Event(locked.study_id, "retried", f"trial {told}")])
    return pairs


def _kept(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the system attributes of a trial that a retry of it has, too."""
    # A trial that failed early has not yet used all the params that it was given.
    params = {**trial.system_attrs.get(FIXED_PARAMS, {}), **trial.params}
    return {FIXED_PARAMS: params} | {
        key: trial.system_attrs[key] for key in (CONFIRMS,) if key in trial.system_attrs
    }


def _reopen(locked: LockedStudy) -> None:
    if locked.state == "done" and locked.reason in ("budget", "exhausted"):
        locked.state, locked.reason = "active", None
        locked.update_study(state="active", reason=None, updated_at=locked.now)
        spending.finish_if_spent(locked)


def _add(
    locked: LockedStudy, attrs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> list[int]:
    """Adds a waiting trial for each pair of system and user attributes; returns the numbers."""
    added = trial_rows.add_trials(
        locked.conn, locked.study_id, len(attrs), state=TrialState.WAITING
    )
    for target, which in ((trial_rows.SYSTEM_ATTRS, 0), (trial_rows.USER_ATTRS, 1)):
        rows = [
            trial_rows.attr_row(trial_id, key, value)
            for (trial_id, _), pair in zip(added, attrs, strict=True)
            for key, value in pair[which].items()
        ]
        trial_rows.write_rows(locked.conn, target, rows)
    return [number for _, number in added]


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    return f"trials {numbers[0]} to {numbers[-1]}"
