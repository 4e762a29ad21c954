"""Running trials: what each worker trains now, and how far."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.trial_details import chunks, last_values_of
from hpo.store.db.hpo_tables import hpo_lease, hpo_worker
from hpo.store.db.optuna_tables import row_to_intermediate, trial_intermediate_values, trials
from hpo.store.studies.trial_states import RUNNING, shown_state

MOST_CURVES: Final = 64


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a live worker trains; times are naive UTC by the database's clock.

    Attributes:
        epoch: Its last reported epoch, or step of an objective; None without a lease.
        epoch_stop: The epoch up to which it trains now; 0 if it decides itself.
        attempt: How many workers were lost with it, plus one.
        value: The value that it reported last, if any.
        values: All that it reported, by step; of the first `MOST_CURVES` trials only.
        worker_id: None for a trial of a program that uses Optuna alone, as the fields below.
        lanes: Trials that its worker trains now.
    """

    number: int
    epoch: int | None
    epoch_stop: int | None
    attempt: int | None
    value: float | None
    values: tuple[float, ...]
    worker_id: int | None
    host: str | None
    pid: int | None
    device: str | None
    lanes: int | None
    started_at: datetime.datetime | None
    reported_at: datetime.datetime | None


def running_trials(
    conn: Connection, study_id: int, live: dict[int, int]
) -> tuple[RunningTrial, ...]:
    """Returns the running trials of a study, by number.

    Args:
        live: The live workers, as `hpo.store.studies.trial_states.live_workers` returns them.
    """
    lease, worker = hpo_lease.c, hpo_worker.c
    query = (
        sa.select(
            trials.c.trial_id,
            trials.c.number,
            lease.epoch,
            lease.epoch_stop,
            lease.attempt,
            lease.worker_id,
            worker.host,
            worker.pid,
            worker.device,
            worker.lanes,
            trials.c.datetime_start.label("started_at"),
            lease.updated_at.label("reported_at"),
        )
        .outerjoin(hpo_lease, lease.trial_id == trials.c.trial_id)
        .outerjoin(hpo_worker, worker.worker_id == lease.worker_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == RUNNING,
            shown_state(live) == RUNNING,
        )
        .order_by(trials.c.number)
    )
    found = [dict(row) for row in conn.execute(query).mappings()]
    ids = [row.pop("trial_id") for row in found]
    curves = _curves(conn, ids[:MOST_CURVES])
    last = {trial_id: values[-1] for trial_id, values in curves.items()}
    for chunk in chunks(ids[MOST_CURVES:]):
        last |= {trial_id: value for trial_id, (value,) in last_values_of(conn, chunk).items()}
    return tuple(
        RunningTrial(value=last.get(trial_id), values=curves.get(trial_id, ()), **row)
        for trial_id, row in zip(ids, found, strict=True)
    )


def _curves(conn: Connection, ids: Sequence[int]) -> dict[int, tuple[float, ...]]:
    table = trial_intermediate_values.c
    query = (
        sa.select(table.trial_id, table.intermediate_value, table.intermediate_value_type)
        .where(table.trial_id.in_(ids))
        .order_by(table.trial_id, table.step)
    )
    found: dict[int, list[float]] = {}
    for trial_id, value, kind in conn.execute(query):
        found.setdefault(trial_id, []).append(row_to_intermediate(value, kind))
    return {trial_id: tuple(values) for trial_id, values in found.items()}
