"""Trial changes: what is new of a study's trials since they were last read from the database."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.run.loggers.logger import LoggedEpoch, LoggedTrial, TrialEnding
from hpo.search.base.distributions import complete
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease
from hpo.store.rows.trial_reader import CHUNK, Head, read_heads, read_intermediate, read_trials
from hpo.store.studies.study_records import StudyRecord

_LARGEST: Final = 2**53


@dataclass(frozen=True)
class TrialChange:
    """A trial, with its latest epoch as far as its lease tells.

    Attributes:
        head: Its row.
        epoch: The last epoch that was reported; a large number where only its epochs tell.
        is_held: Whether a worker trains it.
    """

    head: Head
    epoch: int
    is_held: bool

    @property
    def has_begun(self) -> bool:
        """Whether a worker has begun it; its params may not all be drawn yet."""
        return self.head.state != TrialState.WAITING

    @property
    def has_ended(self) -> bool:
        """Whether it is complete, pruned or failed."""
        return self.head.state.is_finished()


def read_changes(
    conn: sa.Connection, study: StudyRecord, floor: int, also: Collection[int]
) -> list[TrialChange]:
    """Returns the trials from an id on, and some before; ascending by id."""
    heads = read_heads(conn, study.study_id, floor, also)
    lease = hpo_lease.c
    columns = sa.select(lease.trial_id, lease.epoch, lease.worker_id)
    held = {
        row.trial_id: row for row in conn.execute(columns.where(lease.study_id == study.study_id))
    }
    found = []
    for head in heads:
        row = held.get(head.trial_id)
        is_held = row is not None and row.worker_id is not None
        # What an objective reports without `hpo.Run` does not move its lease.
        is_known = row is not None and study.spec.objective is None
        found.append(TrialChange(head, row.epoch if row and is_known else _LARGEST, is_held))
    return found


def read_epochs(
    conn: sa.Connection, study: StudyRecord, after: Mapping[int, int]
) -> dict[int, list[LoggedEpoch]]:
    """Returns the epochs of trials, by id and ascending.

    Args:
        conn: In a transaction.
        study: The study.
        after: The last epoch that is known of each, by id.
    """
    found: dict[int, dict[int, LoggedEpoch]] = {trial_id: {} for trial_id in after}
    now = datetime.now(UTC).timestamp()
    for ids in _chunks(sorted(after)):
        if study.spec.objective is not None and len(study.spec.metrics) == 1:
            for trial_id, steps in read_intermediate(conn, ids).items():
                for step, value in steps.items():
                    if step > after[trial_id]:
                        metrics = {study.spec.metrics[0]: value}
                        found[trial_id][step] = LoggedEpoch(step, metrics, now)
        for row in conn.execute(_epochs(ids, min(after[one] for one in ids))):
            if row.epoch > after[row.trial_id]:
                found[row.trial_id][row.epoch] = _epoch(row)
    return {trial_id: [epochs[one] for one in sorted(epochs)] for trial_id, epochs in found.items()}


def read_logged_trials(
    conn: sa.Connection, study: StudyRecord, heads: Collection[Head]
) -> dict[int, LoggedTrial]:
    """Returns the trials of rows, by id."""
    return {
        head.trial_id: LoggedTrial(
            trial.number,
            complete(trial.params, study.spec.space) or dict(trial.params),
            _seconds(head.datetime_start),
        )
        for head, trial in zip(
            heads, read_trials(conn, list(heads), intermediate=False), strict=True
        )
    }


def read_endings(
    conn: sa.Connection, study: StudyRecord, heads: Collection[Head]
) -> dict[int, TrialEnding]:
    """Returns how trials ended, by id; without metrics on test data, by which none is chosen."""
    reasons = _reasons(conn, [head.trial_id for head in heads if head.state != TrialState.COMPLETE])
    found = {}
    for head, trial in zip(heads, read_trials(conn, list(heads), intermediate=False), strict=True):
        kind, message = reasons.get(head.trial_id, ("", ""))
        epoch = trial.user_attrs.get("best_epoch")
        names = study.spec.metrics if study.spec.metrics else ("value",)
        found[head.trial_id] = TrialEnding(
            state=head.state.name,
            values=dict(zip(names, trial.values or (), strict=False)),
            at=_seconds(head.datetime_complete),
            best_epoch=epoch if isinstance(epoch, int) else None,
            reason=kind,
            message=message,
        )
    return found


def _epochs(ids: list[int], after: int) -> sa.Select[Any]:
    row = hpo_epoch.c
    return (
        sa.select(row.trial_id, row.epoch, row.metrics, row.learning_rate, row.reported_at)
        .where(row.trial_id.in_(ids), row.epoch > after)
        .order_by(row.trial_id, row.epoch)
    )


def _epoch(row: Any) -> LoggedEpoch:
    metrics = {str(name): float(value) for name, value in json.loads(row.metrics).items()}
    if row.learning_rate is not None:
        metrics.setdefault("learning_rate", row.learning_rate)
    return LoggedEpoch(row.epoch, metrics, _seconds(row.reported_at))


def _reasons(conn: sa.Connection, ids: list[int]) -> dict[int, tuple[str, str]]:
    """Returns kind and message of the last event of each trial."""
    event = hpo_event.c
    found: dict[int, tuple[str, str]] = {}
    for part in _chunks(ids):
        statement = (
            sa.select(event.trial_id, event.kind, event.message)
            .where(event.trial_id.in_(part))
            .order_by(event.event_id)
        )
        found |= {row.trial_id: (row.kind, row.message) for row in conn.execute(statement)}
    return found


def _chunks(ids: list[int]) -> list[list[int]]:
    return [ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK)]


def _seconds(moment: datetime | None) -> float:
    return (moment or datetime.now(UTC)).replace(tzinfo=UTC).timestamp()
