"""Studies of any size, written straight into the tables, for `scale.py`."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import TrialState

from hpo.search.base.distributions import distribution
from hpo.spec import toml
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease, hpo_study
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger.locked_study import UNOWNED_TOKEN
from hpo.store.rows import trial_rows
from hpo.store.rows.trial_reader import without_collector
from hpo.store.studies import studies

BATCH = 500
START = datetime.datetime(2026, 1, 1)
SPEC = """
name = "{name}"
task = "digits-mlp"
metric = "val_accuracy"
direction = "maximize"

[budget]
trials = {budget}
epochs = {n_reports}

[space]
learning_rate = {{ low = 1e-4, high = 1.0, log = true }}
weight_decay = {{ low = 1e-6, high = 1e-1, log = true }}
momentum = {{ low = 0.0, high = 0.99 }}
dropout = {{ low = 0.0, high = 0.5 }}
label_smoothing = {{ low = 0.0, high = 0.2 }}
grad_clip = {{ low = 0.1, high = 10.0 }}
depth = {{ low = 1, high = 8 }}
warmup_epochs = {{ low = 0, high = 10 }}
batch_size = {{ choices = [32, 64, 128, 256] }}
width = {{ choices = [32, 64, 128] }}

[sampler]
name = "{sampler}"
"""


@dataclass(frozen=True)
class Size:
    """How large a study is; half of its trials are COMPLETE, 2 % FAIL, the rest PRUNED.

    With the sampler auto three quarters are paused instead, after a fifth of their epochs.
    """

    name: str
    n_trials: int
    n_reports: int
    sampler: str = "tpe"

    @property
    def n_paused_reports(self) -> int:
        """The epochs of a paused trial."""
        return max(1, self.n_reports // 5)

    @property
    def spec(self) -> str:
        """The study's file, with room for the trials of those who join."""
        return SPEC.format(
            name=self.name, budget=2 * self.n_trials, n_reports=self.n_reports, sampler=self.sampler
        )


@dataclass(frozen=True)
class Dimension:
    """A parameter as `trial_params` holds it."""

    name: str
    kind: BaseDistribution
    text: str

    def draw(self, rng: random.Random) -> float:
        """Returns a value in Optuna's internal representation."""
        table: Mapping[str, Any] = vars(self.kind)
        if "choices" in table:
            return float(rng.randrange(len(table["choices"])))
        low, high = table["low"], table["high"]
        if table["log"]:
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        value = rng.uniform(low, high)
        return float(round(value)) if isinstance(low, int) else value


def generate(db: Database, size: Size) -> int:
    """Writes a study with its trials, the same for the same size, and returns its id."""
    spec = toml.loads(size.spec, size.name)
    study, _ = studies.create_or_join(db, spec, None)
    dimensions = []
    for name in spec.space.names:
        kind = distribution(spec.space[name])
        assert kind is not None
        dimensions.append(Dimension(name, kind, distribution_to_json(kind)))
    for first in range(0, size.n_trials, BATCH):
        numbers = range(first, min(first + BATCH, size.n_trials))
        with db.write() as conn, without_collector():
            _add(conn, study.study_id, numbers, dimensions, size)
    with db.write() as conn:
        spent = {"epochs_spent": size.n_trials * size.n_reports}
        conn.execute(sa.update(hpo_study).where(hpo_study.c.study_id == study.study_id), spent)
        if db.dialect != "sqlite":
            # A server does this by itself within a minute.
            verb = "ANALYZE" if db.dialect == "postgresql" else "ANALYZE TABLE"
            for table in ("trials", "trial_params", "trial_values", "trial_intermediate_values"):
                conn.execute(sa.text(f"{verb} {table}"))
    return study.study_id


def _ending(rng: random.Random, size: Size) -> TrialState:
    draw = rng.random()
    if size.sampler == "auto":
        return TrialState.RUNNING if draw < 0.75 else TrialState.COMPLETE
    if draw < 0.5:
        return TrialState.COMPLETE
    return TrialState.FAIL if draw < 0.52 else TrialState.PRUNED


def _add(
    conn: sa.Connection, study_id: int, numbers: range, dimensions: list[Dimension], size: Size
) -> None:
    rng = random.Random(f"{size.name} {numbers.start}")
    added = _add_heads(conn, study_id, numbers, rng, size)
    steps = list(_steps(added, size, rng))
    values = [
        row
        for trial_id, state in added
        if state not in (TrialState.FAIL, TrialState.RUNNING)
        for row in trial_rows.value_rows(trial_id, [rng.random()])
    ]
    params = [
        trial_rows.param_row(trial_id, d.name, d.draw(rng), d.text)
        for trial_id, _ in added
        for d in dimensions
    ]
    rungs = [
        trial_rows.attr_row(trial_id, f"completed_rung_{rung}", rng.random())
        for trial_id, _ in added
        for rung in range(2)
    ]
    trial_rows.write_rows(conn, trial_rows.PARAMS, params)
    trial_rows.write_rows(conn, trial_rows.VALUES, values)
    trial_rows.write_rows(conn, trial_rows.SYSTEM_ATTRS, rungs)
    trial_rows.write_rows(
        conn, trial_rows.INTERMEDIATES, (trial_rows.intermediate_row(*step) for step in steps)
    )
    conn.execute(sa.insert(hpo_epoch), [_epoch(*step) for step in steps])
    events = list(_events(study_id, added))
    paused = [
        _lease(study_id, trial_id, size) for trial_id, state in added if state is TrialState.RUNNING
    ]
    for table, rows in ((hpo_event, events), (hpo_lease, paused)):
        if rows:
            conn.execute(sa.insert(table), rows)


def _add_heads(
    conn: sa.Connection, study_id: int, numbers: range, rng: random.Random, size: Size
) -> list[tuple[int, TrialState]]:
    rows = []
    for number in numbers:
        begun, state = START + datetime.timedelta(seconds=number), _ending(rng, size)
        ended = None if state is TrialState.RUNNING else begun + datetime.timedelta(seconds=90)
        rows.append(
            {
                "study_id": study_id,
                "number": number,
                "state": state,
                "datetime_start": begun,
                "datetime_complete": ended,
            }
        )
    conn.execute(sa.insert(trials), rows)
    t = trials.c
    mine = sa.select(t.trial_id, t.state).where(t.study_id == study_id, t.number >= numbers.start)
    return [(row.trial_id, row.state) for row in conn.execute(mine.order_by(t.number))]


def _steps(
    added: list[tuple[int, TrialState]], size: Size, rng: random.Random
) -> Iterator[tuple[int, int, float]]:
    for trial_id, state in added:
        end = rng.random()
        n_steps = size.n_paused_reports if state is TrialState.RUNNING else size.n_reports
        for step in range(1, n_steps + 1):
            yield trial_id, step, end * step / size.n_reports + rng.random() / 100


def _lease(study_id: int, trial_id: int, size: Size) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "study_id": study_id,
        "worker_id": None,
        "token": UNOWNED_TOKEN,
        "attempt": 1,
        "epoch": size.n_paused_reports,
        "epoch_stop": size.n_paused_reports,
        "updated_at": START,
    }


def _epoch(trial_id: int, epoch: int, value: float) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "epoch": epoch,
        "metrics": f'{{"train_loss": {1 - value}, "val_loss": 1.0, "val_accuracy": {value}}}',
        "learning_rate": 0.01,
        "seconds": 1.5,
        "samples_per_s": 1000.0,
        "attempt": 1,
        "reported_at": START,
    }


def _events(study_id: int, added: list[tuple[int, TrialState]]) -> Iterator[dict[str, Any]]:
    kinds = {TrialState.PRUNED: "pruned", TrialState.FAIL: "nan"}
    for trial_id, state in added:
        if state in kinds:
            about = {"study_id": study_id, "trial_id": trial_id, "worker_id": 1}
            yield {"at": START, **about, "kind": kinds[state], "message": ""}
