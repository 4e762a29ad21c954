"""Trial pages: sorted and filtered trials of a study, and the best trial."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report import optuna_values
from hpo.report.pareto import pareto_front
from hpo.report.study_queries import Subject
from hpo.report.trial_details import (
    Steps,
    chunks,
    epochs_of,
    last_values_of,
    params_of,
    reasons_of,
    steps_of,
    user_attrs_of,
    values_of,
)
from hpo.spec.space.points import complete
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_lease
from hpo.store.db.optuna_tables import (
    trial_intermediate_values,
    trial_values,
    trials,
)
from hpo.store.rows.held_out_metrics import test_metrics, without_test
from hpo.store.studies.trial_states import FINISHED, PAUSED, WAITING, live_workers, shown_state

SORTS = ("best", "number", "duration")


@dataclass(frozen=True)
class TrialRow:
    """A trial as reports show it.

    Attributes:
        state: One of `hpo.store.studies.trial_states.STATES`.
        values: Value of each objective; None while there is none. For a paused or interrupted
            trial it is the last reported value.
        n_epochs: Number of reported steps.
        epoch: The step of its value and metrics: the best one of a complete trial of a task, else
            the last one. None if the value belongs to no step.
        best_epoch: The best step, as recorded by the trial or by its value; None without steps.
        params: Parameters, including fixed ones if the study's space is known.
        user_attrs: User attributes, without test metrics.
        test: Metrics on test data, which the search never sees; empty while the study runs.
        reason: Kind of the event that ended it, if that was not completion.
        started_at: Naive UTC, like ``ended_at``.
    """

    trial_id: int
    number: int
    state: str
    values: tuple[float, ...] | None
    n_epochs: int
    epoch: int | None
    best_epoch: int | None
    params: Mapping[str, Any]
    user_attrs: Mapping[str, Any]
    reason: str | None = None
    started_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The first objective's value."""
        return self.values[0] if self.values else None

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end."""
        return optuna_values.seconds_between(self.started_at, self.ended_at)

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to the end."""
        return self.state == "COMPLETE"

    @property
    def has_finite_value(self) -> bool:
        """Whether the first objective has a value that is neither infinite nor NaN."""
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True)
class Page:
    """Which trials to show.

    Attributes:
        sort: One of `SORTS`; ``best`` puts trials without a value last.
        states: Some of `hpo.store.studies.trial_states.STATES`; empty for all.
        limit: Maximum number of trials; None for all.
        numbers: Only trials with these numbers; empty for all.
    """

    sort: str = "number"
    states: tuple[str, ...] = ()
    limit: int | None = None
    numbers: tuple[int, ...] = ()


def list_trials(db: Database, subject: Subject, page: Page = Page()) -> list[TrialRow]:
    """Returns a page of a study's trials, filtered and sorted by the database."""
    with db.read() as conn:
        return page_of(conn, subject, page, live_workers(conn, db, subject.study_id))


def page_of(
    conn: Connection, subject: Subject, page: Page, live: Collection[int] = ()
) -> list[TrialRow]:
    """Returns a page of a study's trials in the caller's transaction.

    Args:
        live: The live workers, as `live_workers` returns them.
    """
    found = conn.execute(_page_query(subject, page, conn.dialect.name, live)).all()
    return list(_details(conn, subject, found))


def trial_of(conn: Connection, db: Database, subject: Subject, number: int) -> TrialRow | None:
    """Returns the trial with a number, with the metrics of its epoch; None if there is none."""
    live = live_workers(conn, db, subject.study_id)
    query = _page_query(subject, Page(), conn.dialect.name, live).where(trials.c.number == number)
    found = conn.execute(query).all()
    rows = list(_details(conn, subject, found))
    return _with_metrics(conn, rows[0]) if rows else None


def best_trial(
    conn: Connection, subject: Subject, *, known: TrialRow | None = None
) -> TrialRow | None:
    """Returns the best complete trial; None while there is none, and for several objectives.

    For a study that has ended without a complete trial, it is the best of those stopped early.

    Args:
        known: A trial read earlier, which is returned unchanged if it is still the best.
    """
    best = _best_in("COMPLETE", conn, subject, known)
    if best is None and subject.has_ended:
        best = _best_in("PRUNED", conn, subject, known)
        # A trial pruned before its first report has no value.
        return None if best is None or best.value is None else best
    return best


def _best_in(
    state: str, conn: Connection, subject: Subject, known: TrialRow | None
) -> TrialRow | None:
    if len(subject.directions) != 1:
        return None
    page = Page("best", (state,), 1)
    row = conn.execute(_page_query(subject, page, conn.dialect.name)).first()
    if row is None or (known is not None and known.trial_id == row.trial_id):
        return known if row is not None else None
    (trial,) = _details(conn, subject, [row])
    return trial


def best_trials(db: Database, subject: Subject) -> list[TrialRow]:
    """Returns the best trial, or the Pareto front of several objectives, sorted by the first."""
    with db.read() as conn:
        if len(subject.directions) == 1:
            best = best_trial(conn, subject)
            return [_with_metrics(conn, best)] if best and best.value is not None else []
        page = Page("best", ("COMPLETE",))
        found = conn.execute(_page_query(subject, page, conn.dialect.name)).all()
        points = values_of(conn, [row.trial_id for row in found])
        front = set(pareto_front(points, subject.directions))
        return list(_details(conn, subject, [row for row in found if row.trial_id in front]))


def _page_query(
    subject: Subject, page: Page, dialect: str, live: Collection[int] = ()
) -> sa.Select[Any]:
    state, lease = shown_state(live), hpo_lease.c
    first = sa.and_(trial_values.c.trial_id == trials.c.trial_id, trial_values.c.objective == 0)
    query = (
        sa.select(
            trials.c.trial_id,
            trials.c.number,
            state.label("state"),
            trials.c.datetime_start,
            trials.c.datetime_complete,
        )
        .outerjoin(trial_values, first)
        .outerjoin(hpo_lease, lease.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == subject.study_id)
    )
    if page.numbers:
        query = query.where(trials.c.number.in_(page.numbers))
    has_ended = bool(page.states) and set(page.states) <= set(FINISHED)
    if has_ended:
        query = query.where(trials.c.state.in_(page.states))
    elif page.states:
        query = query.where(state.in_(page.states))
    if page.sort == "best":
        # A pruned trial also has a value, the last reported one, which is not a result.
        group = sa.case((trials.c.state == "COMPLETE", 0), (trials.c.state == "PRUNED", 1), else_=2)
        query = query.order_by(group, *optuna_values.best_first(subject.direction))
        query = query if has_ended else _last_first(query, subject.direction, state)
    elif page.sort == "duration":
        seconds = optuna_values.duration_s(dialect)
        query = query.order_by(seconds.is_(None), seconds.desc())
    query = query.order_by(trials.c.number)
    return query if page.limit is None else query.limit(page.limit)


def _last_first(
    query: sa.Select[Any], direction: str, state: sa.ColumnElement[str]
) -> sa.Select[Any]:
    """Sorts paused and interrupted trials by their last values."""
    last = trial_intermediate_values.c
    is_last = sa.and_(
        last.trial_id == trials.c.trial_id,
        last.step == hpo_lease.c.epoch,
        state.in_((PAUSED, WAITING)),
    )
    query = query.outerjoin(trial_intermediate_values, is_last)
    return query.order_by(*optuna_values.best_step_first(direction)[:2])


def _details(
    conn: Connection, subject: Subject, found: Sequence[sa.Row[Any]]
) -> Iterator[TrialRow]:
    for rows in chunks(found):
        ids = [row.trial_id for row in rows]
        of_values = values_of(conn, ids)
        of_params = params_of(conn, ids)
        attrs = user_attrs_of(conn, ids)
        steps = steps_of(conn, ids, subject.direction)
        if len(subject.directions) > 1:
            # With several objectives there are no intermediate values.
            steps |= epochs_of(conn, ids)
        reasons = reasons_of(conn, ids)
        waiting = [row.trial_id for row in rows if row.state in (PAUSED, WAITING)]
        of_values |= last_values_of(conn, waiting)
        for row in rows:
            reported, of_trial = steps.get(row.trial_id, Steps()), attrs.get(row.trial_id)
            own_best = optuna_values.best_epoch(subject, of_trial)
            trial_values = of_values.get(row.trial_id)
            # The value that an objective returns need not be the value of any step.
            of_best = (own_best or reported.best) if optuna_values.is_of_task(subject) else None
            epoch = of_best if row.state == "COMPLETE" else reported.last
            yield TrialRow(
                trial_id=row.trial_id,
                number=row.number,
                state=row.state,
                values=trial_values,
                n_epochs=reported.n,
                epoch=None if trial_values is None else epoch,
                best_epoch=own_best or reported.best,
                params=_completed(of_params.get(row.trial_id, {}), subject),
                user_attrs=without_test(of_trial or {}),
                test=test_metrics(of_trial or {}) if subject.shows_test else {},
                reason=None if row.state == "COMPLETE" else reasons.get(row.trial_id),
                started_at=row.datetime_start,
                ended_at=row.datetime_complete,
            )


def _completed(stored: dict[str, Any], subject: Subject) -> dict[str, Any]:
    if subject.spec is None or not subject.spec.declares_epochs or not stored:
        return stored
    return complete(stored, subject.spec.space) or stored


def _with_metrics(conn: Connection, trial: TrialRow) -> TrialRow:
    query = sa.select(hpo_epoch.c.metrics).where(
        hpo_epoch.c.trial_id == trial.trial_id, hpo_epoch.c.epoch == trial.epoch
    )
    text = conn.scalar(query)
    if text is None:
        return trial
    return TrialRow(**{**vars(trial), "metrics": optuna_values.metrics(text)})
