"""A target ends a study at the report that reaches it, whatever becomes of the trial then."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

TASK = """
name   = "soon"
task   = "digits-mlp"
metric = "val_accuracy"
engine = "{engine}"

[budget]
trials = 6
epochs = 200
target = 0.95

[space]
learning_rate = {{ low = 0.02, high = 0.03 }}
width = 32
depth = 1

[sampler]
name = "{sampler}"
"""

OBJECTIVE = """
import optuna


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(400):
        trial.report(step + x, step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return 400.0
"""


def _reason(shell: Shell) -> list[tuple[str, str]]:
    return shell.query("SELECT state, reason FROM hpo_study")


@pytest.mark.parametrize(("engine", "sampler"), [("auto", "auto"), ("solo", "random")])
def test_a_trial_is_complete_at_the_epoch_that_reaches_the_target(
    shell: Shell, engine: str, sampler: str
) -> None:
    shell.write("soon.toml", TASK.format(engine=engine, sampler=sampler))

    output = shell.hpo("run", "soon.toml", "--workers", "1")

    assert "the target of 0.9500 is reached" in output
    assert _reason(shell) == [("done", "target")]
    ((n_epochs,),) = shell.query("SELECT count(*) FROM hpo_epoch")
    # The target takes a few epochs of 1,200.
    assert n_epochs < 100
    complete = shell.query(
        "SELECT value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
    )
    assert max(complete) >= (0.95,)
    assert list((shell.folder / "hpo.artifacts").rglob("models/*.pt"))


def test_an_objective_that_reports_the_target_is_complete(shell: Shell) -> None:
    shell.write("o.py", OBJECTIVE)

    shell.hpo("run", "--objective", "o.py:objective", "--direction", "maximize", "--trials", "9",
              "--target", "5", "--pruner", "none", "--workers", "1")  # fmt: skip

    assert _reason(shell) == [("done", "target")]
    assert shell.query("SELECT state, count(*) FROM trials GROUP BY state") == [("COMPLETE", 1)]
    ((value,),) = shell.query("SELECT value FROM trial_values")
    assert 5 <= value < 6
