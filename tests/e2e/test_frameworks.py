"""Scripts of frameworks' users run without an edit, and beside hpo's workers."""

from __future__ import annotations

import signal
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState

from tests.conftest import GetServer
from tests.e2e.conftest import LIMIT_S, Shell
from tests.kits.framework_scripts import LIGHTNING, TRANSFORMERS

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_script_with_the_pruning_callback_of_optuna_integration(shell: Shell) -> None:
    shell.write("train.py", LIGHTNING)
    output = shell.hpo("run", "--objective", "train.py:objective", "--trials", "20", "-j", "2")
    assert "direction maximize: taken over" in output
    assert "20/20 trials" in output
    # The pruner is asked where Lightning has switched autograd off.
    assert "failed" not in output
    trials = _trials(f"sqlite:///{shell.folder}/hpo.db", "train")
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert {len(trial.intermediate_values) for trial in complete} == {5}
    assert max(trial.value or 0.0 for trial in complete) > 0.9
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert all(len(trial.intermediate_values) < 5 for trial in pruned)


def test_a_trainer_of_lightning_that_is_interrupted_fails_no_trial(shell: Shell) -> None:
    shell.write("train.py", LIGHTNING.replace("max_epochs=5", "max_epochs=5000"))
    running = shell.start("run", "--objective", "train.py:objective", "--trials", "2", "-j", "1")
    shell.until(lambda: shell.query("SELECT 1 FROM trial_intermediate_values"), "a report")
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 130, output
    assert shell.states() == {"RUNNING": 1}
    assert "SIGTERM" not in output


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_transformers_hyperparameter_search_beside_workers(
    shell: Shell, dialect: str, server_of: GetServer
) -> None:
    url = f"sqlite:///{shell.folder}/hpo.db"
    if dialect == "postgresql":
        url = server_of(dialect).create_database("bert")
    shell.write("search.py", TRANSFORMERS)
    started = ("--objective", "search.py:objective", "--direction", "maximize", "-j", "1")
    running = shell.start("run", *started, "--trials", "200", "--storage", url)
    shell.until(lambda: _n_complete(url, "search") > 0, "a first trial")

    # One search of its own, and one that joins the study of the workers.
    command = [sys.executable, "search.py", url, "own", "search"]
    done = subprocess.run(
        command, cwd=shell.folder, env=shell.environment, capture_output=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"best 0.") == 2
    n_before = _n_complete(url, "search")
    shell.until(lambda: _n_complete(url, "search") > n_before, "workers that continue")
    shell.hpo("stop", "search", "--storage", url)
    output, _ = running.communicate(timeout=LIMIT_S)
    assert "failed" not in output
    assert "Traceback" not in output

    joined = _trials(url, "search")
    assert len(_trials(url, "own")) == 3
    assert {trial.number for trial in joined} == set(range(len(joined)))
    # Those of the search report after each epoch, those of the workers do not.
    assert sum(bool(trial.intermediate_values) for trial in joined) == 3
    listed = shell.hpo("ls", "--storage", url)
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [
        ["search", "stopped"],
        ["own", "optuna"],
    ]
    assert "trials     3: " in shell.hpo("show", "own", "--storage", url)
    assert len(shell.hpo("trials", "own", "--storage", url).splitlines()) == 4


def _n_complete(url: str, name: str) -> int:
    return sum(trial.state == TrialState.COMPLETE for trial in _trials(url, name))


def _trials(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    """Returns the trials of a study as plain Optuna reads them, none before the study exists."""
    try:
        storage = optuna.storages.RDBStorage(url)
    except RuntimeError:
        # It is being created at this moment.
        return []
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    except KeyError:
        return []
    finally:
        storage.remove_session()
        storage.engine.dispose()
