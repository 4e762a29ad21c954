"""Whatever is killed, frozen or cut off, the rows come out right."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.search.base.derived_seeds import mix
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_epoch, hpo_event, hpo_lease
from hpo.store.db.opening import open_database
from hpo.store.db.optuna_tables import trial_intermediate_values, trial_values, trials
from hpo.store.studies import studies
from tests.conftest import DIALECTS, start_server
from tests.kits.chaos import Chaos, disturber
from tests.kits.chaos_worker import curve
from tests.kits.servers import Server

pytestmark = pytest.mark.e2e

SEED = 20261122
N_TRIALS = int(os.environ.get("HPO_SOAK_TRIALS", "100"))
N_EPOCHS = 12
# `make soak` makes this much longer.
CHAOS_S = float(os.environ.get("HPO_SOAK_S", "12"))
LIMIT_S = CHAOS_S * 3 + 90


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Server | None]]:
    """A database of each kind, on a server of its own that may be stopped."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'hpo.db'}", None
        return
    server = start_server(request.param, survives_kill=True)
    yield server.create_database("chaos"), server
    server.remove()


@pytest.mark.timeout(LIMIT_S + 60)
def test_rows_are_right_after_chaos(place: tuple[str, Server | None], tmp_path: Path) -> None:
    url, server = place
    db = open_database(url, create=True)
    spec = StudySpec(
        name="chaos",
        task="digits-mlp",
        metric="val_accuracy",
        direction="maximize",
        budget=Budget(trials=N_TRIALS, epochs=N_EPOCHS),
        space={"learning_rate": {"low": 1e-4, "high": 1.0, "log": True}},
        sampler="random",
        pruner="none",
        seed=SEED,
    )
    study, _ = studies.create_or_join(db, spec, None)
    chaos = Chaos(url, "chaos", tmp_path, disturber(url, server))
    try:
        chaos.run(SEED, CHAOS_S, LIMIT_S)
    finally:
        chaos.clear()
    print(f"{dict(chaos.events)}")
    assert chaos.bad_ends == []
    assert chaos.events["kill"] > 0
    _assert_trials(db, study.study_id)
    _assert_curves(db, study.study_id)
    db.dispose()


def _assert_trials(db: Database, study_id: int) -> None:
    """Exactly as many trials as the budget has, each ended, none owned by anybody."""
    with db.read() as conn:
        rows = conn.execute(
            sa.select(trials.c.number, trials.c.state).where(trials.c.study_id == study_id)
        ).all()
        owned = conn.execute(
            sa.select(hpo_lease.c.trial_id).where(hpo_lease.c.worker_id.is_not(None))
        ).all()
        lost = conn.execute(
            sa.select(hpo_event.c.message).where(hpo_event.c.kind == "lost")
        ).scalars()
        hopeless = [message for message in lost if "the trial failed" in message]
    assert sorted(row.number for row in rows) == list(range(N_TRIALS))
    by_state = [row.state for row in rows]
    assert by_state.count(TrialState.FAIL) == len(hopeless)
    assert by_state.count(TrialState.COMPLETE) == N_TRIALS - len(hopeless)
    assert owned == []


def _assert_curves(db: Database, study_id: int) -> None:
    """Every epoch of every complete trial once, in both tables, with the value it must have."""
    with db.read() as conn:
        complete = conn.execute(
            sa.select(trials.c.trial_id, trials.c.number).where(
                trials.c.study_id == study_id, trials.c.state == TrialState.COMPLETE
            )
        ).all()
        epochs = conn.execute(sa.select(hpo_epoch.c.trial_id, hpo_epoch.c.epoch)).all()
        reported = conn.execute(
            sa.select(
                trial_intermediate_values.c.trial_id,
                trial_intermediate_values.c.step,
                trial_intermediate_values.c.intermediate_value,
            )
        ).all()
        found = conn.execute(sa.select(trial_values.c.trial_id, trial_values.c.value)).all()
    values: dict[int, float] = {row.trial_id: row.value for row in found}
    expected_steps = list(range(1, N_EPOCHS + 1))
    for trial_id, number in complete:
        seed = mix(SEED, number)
        assert sorted(e for i, e in epochs if i == trial_id) == expected_steps
        curve_of = {step: value for i, step, value in reported if i == trial_id}
        assert sorted(curve_of) == expected_steps
        assert len([1 for i, _, _ in reported if i == trial_id]) == N_EPOCHS
        for step, value in curve_of.items():
            assert math.isclose(value, curve(seed, step), rel_tol=1e-12)
        best = max(curve(seed, step) for step in expected_steps)
        assert math.isclose(values[trial_id], best, rel_tol=1e-12)
