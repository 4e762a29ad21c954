"""Studies whose trials pause and go on, from their file to their end."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

EPOCHS = 9
STUDY = """
name      = "small"
task      = "digits-mlp"
metric    = "val_accuracy"
direction = "maximize"
engine    = "{engine}"

[budget]
trials = {trials}
epochs = 9

[space]
learning_rate = {{ low = 1e-3, high = 0.3, log = true }}
batch_size    = {{ choices = [64, 128] }}
momentum      = {{ low = 0.0, high = 0.95 }}
depth         = {{ low = 1, high = 2 }}
width         = 32

[sampler]
name = "{sampler}"

[pruner]
name = "{pruner}"
"""


def _assert_ended(shell: Shell, n_trials: int) -> None:
    """Each trial has ended with a whole curve, and the best one was trained to the end."""
    states = shell.states()
    assert sum(states.values()) == n_trials
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert states["COMPLETE"] >= 1
    assert shell.query("SELECT count(*) FROM hpo_lease") == [(0,)]
    assert shell.query("SELECT state, reason FROM hpo_study") == [("done", "budget")]
    for trial_id, state in shell.query("SELECT trial_id, state FROM trials"):
        rows = shell.query(
            "SELECT step, intermediate_value FROM trial_intermediate_values "
            f"WHERE trial_id = {trial_id} ORDER BY step"
        )
        epochs = [step for step, _ in rows]
        assert epochs == list(range(1, len(epochs) + 1))
        ours = shell.query(f"SELECT count(*) FROM hpo_epoch WHERE trial_id = {trial_id}")
        assert ours == [(len(epochs),)]
        value = shell.query(f"SELECT value FROM trial_values WHERE trial_id = {trial_id}")
        if state == "COMPLETE":
            assert len(epochs) == EPOCHS
        elif rows:
            assert value == [(rows[-1][1],)]


@pytest.mark.parametrize(
    ("sampler", "pruner", "engine"),
    [("random", "asha", "solo"), ("auto", "auto", "solo"), ("auto", "auto", "auto")],
)
def test_trials_pause_and_the_best_go_on(
    shell: Shell, sampler: str, pruner: str, engine: str
) -> None:
    study = STUDY.format(trials=12, sampler=sampler, pruner=pruner, engine=engine)
    shell.write("small.toml", study)
    output = shell.hpo("run", "small.toml", "--workers", "2")
    assert "12/12 trials" in output
    _assert_ended(shell, 12)
    (n_epochs,) = shell.query("SELECT count(*) FROM hpo_epoch")[0]
    assert n_epochs < 12 * EPOCHS, "no trial has paused"
    steps = json.loads(shell.hpo("replay", "small", "--check", "-f", "json"))
    assert {step["trial"] for step in steps} == set(range(12))
    n_given = {step["trial"]: step["epoch_stop"] for step in steps}
    curves = "SELECT number, count(*) FROM trials JOIN hpo_epoch USING (trial_id) GROUP BY number"
    assert n_given == dict(shell.query(curves))


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "asha"), ("auto", "auto")])
def test_a_study_that_is_killed_goes_on_with_what_has_paused(
    shell: Shell, sampler: str, pruner: str
) -> None:
    study = STUDY.format(trials=30, sampler=sampler, pruner=pruner, engine="auto")
    shell.write("small.toml", study)
    process = shell.start("run", "small.toml", "--workers", "2")
    paused = "SELECT count(*) FROM hpo_lease WHERE worker_id IS NULL AND epoch >= epoch_stop"
    shell.until(lambda: shell.query(paused) > [(3,)], "paused trials")
    process.kill()
    process.wait()
    assert shell.states()["RUNNING"] > 3
    shell.hpo("run", "small.toml", "--workers", "2")
    _assert_ended(shell, 30)


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_one_worker_and_a_seed_give_the_same_study(shell: Shell, engine: str) -> None:
    params = "SELECT number, param_name, param_value FROM trials JOIN trial_params USING (trial_id)"
    curves = (
        "SELECT number, step, intermediate_value FROM trials "
        "JOIN trial_intermediate_values USING (trial_id) ORDER BY 1, 2"
    )
    study = STUDY.format(trials=11, sampler="auto", pruner="auto", engine=engine)
    shell.write("small.toml", study)
    shell.hpo("run", "small.toml", "--workers", "1")
    seen = (shell.query(f"{params} ORDER BY 1, 2"), shell.query(curves))
    shell.hpo("delete", "small", "--yes")
    shell.hpo("run", "small.toml", "--workers", "1")
    assert (shell.query(f"{params} ORDER BY 1, 2"), shell.query(curves)) == seen
    _assert_tampering_is_found(shell)


def _assert_tampering_is_found(shell: Shell) -> None:
    assert "all are the same" in shell.hpo("replay", "small", "--check", "--trial", "10")
    change = "UPDATE trial_params SET param_value = 0.5 WHERE param_name = 'momentum'"
    with contextlib.closing(sqlite3.connect(shell.folder / "hpo.db")) as connection:
        connection.execute(f"{change} AND trial_id = (SELECT max(trial_id) FROM trials)")
        connection.commit()
    told = shell.hpo("replay", "small", "--check", "--trial", "10", expect=1)
    assert "different parameters: momentum" in told
    assert "decisions differ now" in told
