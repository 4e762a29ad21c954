"""Effort of a study: the epochs and the time that its trials took, and what stopping saved."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report import optuna_values
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease, hpo_study, hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.studies import resumption
from hpo.store.studies.trial_states import FINISHED, live_workers, shown_state

_ALONE = 1.05
"""Up to so many lanes of a stack on average, the seconds of a trial are those of its device."""


@dataclass(frozen=True)
class Share:
    """The part of the trials in one state.

    Attributes:
        state: One of `hpo.store.studies.trial_states.STATES`.
        n: Number of trials.
        n_epochs: Epochs that they trained.
        seconds: Time that they trained; trials that train together count each.
    """

    state: str
    n: int
    n_epochs: int
    seconds: float


@dataclass(frozen=True)
class Saving:
    """What stopping trials early saved.

    Attributes:
        n: Number of trials that were stopped early.
        n_epochs: Epochs that they trained.
        n_full: Epochs that they would have trained in full.
        seconds: Time that the rest would have taken at their own pace; None if trials trained
            together, because then the time of one trial is not its own.
    """

    n: int
    n_epochs: int
    n_full: int
    seconds: float | None

    @property
    def n_saved(self) -> int:
        """Epochs that were not trained."""
        return max(0, self.n_full - self.n_epochs)


@dataclass(frozen=True)
class Place:
    """The workers on one device of a machine."""

    host: str
    device: str
    n_workers: int
    seconds: float


@dataclass(frozen=True)
class Effort:
    """The effort of a study.

    Attributes:
        shares: By state, in the order of `hpo.store.studies.trial_states.STATES`.
        saving: None if no trial was stopped early, or it is unknown how long a trial would be.
        epochs: The epochs of a trial in full; None if unknown.
        places: Devices by the time of their workers, the longest first.
        elapsed_s: Seconds in which at least one worker lived; None without workers of hpo.
        mean_lanes: Trials that trained together, on average over the epochs.
    """

    shares: tuple[Share, ...]
    saving: Saving | None
    epochs: int | None
    places: tuple[Place, ...]
    elapsed_s: float | None
    mean_lanes: float

    @property
    def n_epochs(self) -> int:
        """Epochs of all trials."""
        return sum(share.n_epochs for share in self.shares)

    @property
    def trained_s(self) -> float:
        """Time of all trials; those that train together count each."""
        return sum(share.seconds for share in self.shares)

    @property
    def worker_s(self) -> float:
        """Time of all workers."""
        return sum(place.seconds for place in self.places)

    @property
    def busy_s(self) -> float | None:
        """About the time in which workers trained; None if it is unknown."""
        if not self.places or not self.worker_s:
            return None
        return min(self.worker_s, self.trained_s / max(1.0, self.mean_lanes))


def read_effort(db: Database, conn: Connection, subject: Subject) -> Effort:
    """Reads the effort of a study; the number of queries is constant."""
    shares = _shares(db, conn, subject)
    epochs = _epochs(db, conn, subject)
    places, elapsed_s, mean_lanes = _workers(db, conn, subject.study_id)
    pruned = next((share for share in shares if share.state == "PRUNED"), None)
    saving = None
    if pruned is not None and pruned.n and epochs is not None:
        saving = _saving(pruned, epochs, is_alone=mean_lanes <= _ALONE)
    return Effort(shares, saving, epochs, places, elapsed_s, mean_lanes)


def _saving(pruned: Share, epochs: int, *, is_alone: bool) -> Saving:
    n_full = max(pruned.n * epochs, pruned.n_epochs)
    pace_s = pruned.seconds / pruned.n_epochs if pruned.n_epochs and is_alone else None
    seconds = None if pace_s is None else pace_s * (n_full - pruned.n_epochs)
    return Saving(pruned.n, pruned.n_epochs, n_full, seconds)


def _epochs(db: Database, conn: Connection, subject: Subject) -> int | None:
    """Returns how many epochs a trial in full has; None if only its objective knows."""
    if subject.spec is None:
        return None
    if subject.spec.declares_epochs or resumption.resumes(db, subject.study_id):
        limit = sa.select(hpo_study.c.epochs).where(hpo_study.c.study_id == subject.study_id)
        return conn.scalar(limit) or subject.spec.budget.epochs
    return None


def _shares(db: Database, conn: Connection, subject: Subject) -> tuple[Share, ...]:
    state = shown_state(live_workers(conn, db, subject.study_id)).label("shown")
    begin = sa.select(trials.c.trial_id, state, trials.c.datetime_start, trials.c.datetime_complete)
    own = (
        begin.select_from(trials)
        .outerjoin(hpo_lease, hpo_lease.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == subject.study_id)
        .subquery()
    )
    epoch = hpo_epoch.c
    counts = dict(_pairs(conn, sa.select(own.c.shown, sa.func.count()).group_by(own.c.shown)))
    # By trials first, which are in the order of the key: that halves the time of a million epochs.
    per_trial = (
        sa.select(
            epoch.trial_id, sa.func.count().label("n"), sa.func.sum(epoch.seconds).label("seconds")
        )
        .where(epoch.trial_id.in_(sa.select(own.c.trial_id)))
        .group_by(epoch.trial_id)
        .subquery()
    )
    per_state = (
        sa.select(own.c.shown, sa.func.sum(per_trial.c.n), sa.func.sum(per_trial.c.seconds))
        .join(per_trial, per_trial.c.trial_id == own.c.trial_id)
        .group_by(own.c.shown)
    )
    trained = {shown: (int(n), float(s or 0.0)) for shown, n, s in conn.execute(per_state)}
    if not trained:
        # Without epochs only the time from start to end is known.
        seconds = sa.func.sum(optuna_values.duration_s(conn.dialect.name))
        query = sa.select(sa.cast(trials.c.state, sa.String(16)), seconds)
        query = query.where(trials.c.study_id == subject.study_id, trials.c.state.in_(FINISHED))
        ended = _pairs(conn, query.group_by(trials.c.state))
        trained = {shown: (0, float(s or 0.0)) for shown, s in ended}
    order = (*FINISHED, "RUNNING", "PAUSED", "WAITING")
    return tuple(
        Share(name, counts[name], *trained.get(name, (0, 0.0))) for name in order if name in counts
    )


def _pairs(conn: Connection, query: Any) -> Iterable[tuple[str, Any]]:
    return [(str(name), value) for name, value in conn.execute(query)]


def _workers(
    db: Database, conn: Connection, study_id: int
) -> tuple[tuple[Place, ...], float | None, float]:
    worker = hpo_worker.c
    query = sa.select(
        worker.worker_id,
        worker.host,
        worker.device,
        worker.started_at,
        worker.heartbeat_at,
        worker.ended_at,
        worker.lane_epochs,
        worker.stack_epochs,
    ).where(worker.study_id == study_id)
    rows = conn.execute(query).all()
    if not rows:
        return (), None, 1.0
    now, live = db.now(conn), live_workers(conn, db, study_id)
    spans, of_place = [], dict[tuple[str, str], tuple[int, float]]()
    for row in rows:
        end = row.ended_at or (now if row.worker_id in live else row.heartbeat_at)
        spans.append((row.started_at, max(row.started_at, end)))
        n, seconds = of_place.get((row.host, row.device), (0, 0.0))
        of_place[row.host, row.device] = (n + 1, seconds + _seconds(spans[-1:]))
    lanes = sum(row.lane_epochs or 0 for row in rows)
    stacks = sum(row.stack_epochs or 0 for row in rows)
    return _places(of_place), _seconds(_union(spans)), lanes / stacks if stacks else 1.0


def _places(found: Mapping[tuple[str, str], tuple[int, float]]) -> tuple[Place, ...]:
    places = [Place(host, device, *entry) for (host, device), entry in found.items()]
    return tuple(sorted(places, key=lambda place: (-place.seconds, place.host, place.device)))


_Span = tuple[datetime.datetime, datetime.datetime]


def _union(spans: Sequence[_Span]) -> list[_Span]:
    """Merges spans of time that overlap."""
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _seconds(spans: Iterable[_Span]) -> float:
    return sum((end - start).total_seconds() for start, end in spans)
