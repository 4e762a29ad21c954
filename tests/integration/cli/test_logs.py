"""``hpo logs``: the output of a command, and what is said where there is none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpo.cli.main import hpo
from hpo.report.study_queries import find
from hpo.run.files.artifacts import Artifacts
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import Lease, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import studies
from tests.kits.cli_kit import fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
Run = Callable[..., Result]
SPEC = StudySpec(
    name="train",
    command="python train.py --lr {lr}",
    metric="loss",
    budget={"trials": 3},
    space={"lr": {"low": 0.1, "high": 1.0}},
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder of its own and expects no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)

    def run(*arguments: str, expect: int = 0) -> Result:
        result = CliRunner().invoke(hpo, arguments, prog_name="hpo")
        assert result.exit_code == expect, result.output
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def db(run: Run) -> Database:
    return open_database("sqlite:///hpo.db", create=True)


@pytest.fixture
def lease(db: Database) -> Lease:
    """The first of the study's trials, which runs on this machine."""
    record, _ = studies.create_or_join(db, SPEC, "/data")
    worker_id = workers.register(db, record.study_id, "cpu")
    (found,) = Ledger(db).claim(record.study_id, worker_id, 1).leases
    return found


@pytest.fixture
def output(db: Database, lease: Lease) -> Path:
    path = Artifacts.of(find(db), db.url).trial_folder(0) / "output.log"
    path.parent.mkdir(parents=True)
    return path


def end(db: Database, lease: Lease) -> None:
    Ledger(db).settle([Outcome(lease.trial_id, lease.token, "complete", (0.5,), epoch=1)])


def test_the_output_is_printed(run: Run, output: Path) -> None:
    output.write_bytes(
        b"one\r\n10%\r 90%\rtwo\n\x1b[31mred\x1b[0m \x1b]0;title\x07\x08end\xff\nlast"
    )
    expected = ["one", "two", "red ␈end\N{REPLACEMENT CHARACTER}", "last"]
    assert run("logs", "train", "0").stdout.splitlines() == expected
    assert run("logs", "train", "0", "--lines", "2").stdout.splitlines() == expected[2:]
    assert run("logs", "train", "0", "-n", "0").stdout == ""


def test_a_trial_is_followed_until_it_ends(
    run: Run, db: Database, lease: Lease, output: Path
) -> None:
    """Also one that has printed nothing yet; the last line needs no end."""

    def write() -> None:
        with output.open("w") as file:
            for part in ("one\ntw", "o\n", "three"):
                time.sleep(0.2)
                file.write(part)
                file.flush()
        end(db, lease)

    writer = threading.Thread(target=write)
    writer.start()
    assert run("logs", "train", "0", "-f").stdout.splitlines() == ["one", "two", "three"]
    writer.join()
    assert run("logs", "train", "0", "-f", "-n1").stdout.splitlines() == ["three"]


def test_an_output_on_another_machine_is_said_to_be_there(
    run: Run, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "gpu7")
        record, _ = studies.create_or_join(db, SPEC, "/data")
        worker_id = workers.register(db, record.study_id, "cpu")
        (lease,) = Ledger(db).claim(record.study_id, worker_id, 1).leases
    said = "error: trial 0 of train has no output on this machine; it ran on gpu7"
    assert said in run("logs", "train", "0", expect=1).stderr
    assert said in run("logs", "train", "0", "-f", expect=1).stderr
    end(db, lease)
    assert said in run("logs", "train", "0", "-f", expect=1).stderr


def test_mistakes_are_named(run: Run, db: Database, lease: Lease) -> None:
    fill(db)
    fill_with_optuna(db)
    for arguments, code, said in [
        (("trian", "0"), 2, "holds no study 'trian'. Did you mean train?"),
        (("train", "1"), 2, "train has no trial 1; it has 1 trial"),
        (("train", "-1"), 2, "-1"),
        (("train",), 2, "Missing argument 'TRIAL'"),
        (("digits", "0"), 2, "digits is a study of a task; only the trials of a command"),
        (("two", "0"), 2, "two is a study of Optuna; only the trials of a command"),
        (("train", "0"), 1, "trial 0 of train has no output"),
    ]:
        assert said in run("logs", *arguments, expect=code).stderr
