"""Studies of commands: written, checked, looked at, and run only where their command is allowed."""

from __future__ import annotations

import shlex
from pathlib import Path

import optuna
import pytest

from hpo.run.host import prefork
from hpo.spec import toml
from hpo.spec.study_spec import StudySpec
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import queueing, studies
from tests.kits.cli_kit import Run, run_hpo

pytestmark = pytest.mark.integration

COMMAND = "python3 train.py --lr {lr} --momentum {momentum} {fast:--fast}"
SPEC = StudySpec(
    name="script",
    command=COMMAND,
    metric="val_accuracy",
    budget={"trials": 4, "epochs": 3},
    space={
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "fast": {"choices": [True, False]},
        "momentum": {"low": 0.0, "high": 0.9, "when": {"fast": True}},
    },
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command beside a script and expects no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    # Processes that are forked would wait for a study that is refused.
    monkeypatch.setattr(prefork, "can_fork", lambda device: False)
    (tmp_path / "train.py").touch()

    return run_hpo


def test_a_file_is_written_and_checked(run: Run) -> None:
    run("init", "--command", "python3 train.py --lr {lr} --out {trial_dir}")
    spec = toml.load("study.toml")
    assert (spec.kind, spec.space.names) == ("command", ("lr",))
    printed = run("check", "study.toml").stdout
    assert printed.startswith("study is valid")
    assert " example    python3 train.py --lr 0.00316 --out '{trial_dir}'" in printed
    assert "at most 27 epochs each" in printed
    for wrong in ("t", "t {a.b}", "t {a"):
        run("init", "x.toml", "--command", wrong, expect=2)
    assert not Path("x.toml").exists()


def test_a_script_that_sees_no_parameter_is_warned_of(run: Run) -> None:
    text = toml.dumps(SPEC).replace(COMMAND, "python3 train.py")
    Path("s.toml").write_text(text)
    assert "only in the environment, such as HPO_PARAM_LR" in run("check", "s.toml").stderr
    Path("s.toml").write_text(text.replace("train.py", "tarin.py"))
    wrong = run("check", "s.toml", expect=2)
    assert "did you mean train.py?" in wrong.stderr


@pytest.mark.parametrize("verb", ["run", "worker"])
def test_a_command_of_a_database_runs_only_where_it_is_allowed(run: Run, verb: str) -> None:
    db = open_database("sqlite:///hpo.db", create=True)
    studies.create_or_join(db, SPEC, None)
    db.dispose()
    for wrong in ((), ("--allow", "train.py"), ("--allow", "python3*")):
        refused = run(verb, "script", *wrong, expect=4)
        assert f"the command '{COMMAND}' may not run here" in refused.stderr
        assert f"hint: allow it with --allow {shlex.quote(COMMAND)}" in refused.stderr


def test_a_study_is_shown_with_the_command_of_its_best_trial(run: Run) -> None:
    db = open_database("sqlite:///hpo.db", create=True)
    record, _ = studies.create_or_join(db, SPEC, None)
    queueing.enqueue(db, record.study_id, {"lr": 0.25, "fast": False}, 1)
    worker_id = workers.register(db, record.study_id, "cpu")
    (lease,) = Ledger(db).claim(record.study_id, worker_id, 1).leases
    trial = optuna.trial.Trial(
        optuna.load_study(study_name="script", storage=Storage(db)), lease.trial_id
    )
    trial.suggest_float("lr", 1e-4, 1.0, log=True)
    trial.suggest_categorical("fast", [True, False])
    Ledger(db).settle([Outcome(lease.trial_id, lease.token, "complete", (0.5,))])
    db.dispose()
    assert f"command    {COMMAND}" in run("show", "script").stdout
    assert "command  python3 train.py --lr 0.25\n" in run("best", "script").stdout
    refused = run("predict", "script", "x.csv", expect=1)
    assert "whose models are its script's own" in refused.stderr
    assert "trials/trial-000000" in refused.stderr
    assert (
        "waits to start with lr = 0.5, fast = True"
        in run("enqueue", "script", "lr=0.5", "fast=true").stdout
    )
