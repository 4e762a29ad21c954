"""``hpo logs``: outputs of commands, logs of workers, and what is said where there are none."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from hpo.report.study_queries import find
from hpo.run.files.artifacts import Artifacts
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import Lease, Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import control, studies
from tests.kits.cli_kit import Run, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
SPEC = StudySpec(
    name="train",
    command="python train.py --lr {lr}",
    metric="loss",
    budget={"trials": 3},
    space={"lr": {"low": 0.1, "high": 1.0}},
)


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
        (("digits",), 1, "digits has no logs on this machine"),
        (("digits", "0"), 1, "trial 0 of digits has no output"),
        (("digits", "9"), 2, "digits has no trial 9"),
        (("two", "0"), 2, "two is a study of Optuna, whose workers have no logs"),
        (("train", "0"), 1, "trial 0 of train has no output"),
    ]:
        assert said in run("logs", *arguments, expect=code).stderr


def log_of(db: Database, name: str, index: int, lines: str) -> None:
    path = Artifacts.of(find(db, name), db.url).log(index)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines)


def test_a_trial_of_a_task_has_its_part_of_its_workers_logs(run: Run, db: Database) -> None:
    """Lines of another trial's failure are not its own; what both may have printed is."""
    fill(db)
    at, mark = "2026-01-31 12:00:0{},000 INFO", "hpo.run.link.trial_log:"
    first = (
        f"{at.format(0)} {mark} worker 1 begins\nloading\n"
        f"{at.format(1)} {mark} trial 2 begins, up to epoch 4\nmodel of 2\n"
        f"{at.format(2)} {mark} trial 3 begins, up to epoch 4\nmodel of 2 or 3\n"
        "2026-01-31 12:00:03,000 WARNING hpo.run.link.trial_log: trial 3 failed: user_code\n"
        "Traceback (most recent call last):\nValueError: of 3\n"
        f"{at.format(3)} {mark} trial 3 ends: failed, user_code at epoch 0\nof 2 alone\n"
        f"{at.format(4)} {mark} trial 2 ends: paused at epoch 2\nof none\n"
    )
    second = f"{at.format(5)} {mark} trial 2 is resumed at epoch 2, up to epoch 4\nresumed\n"
    log_of(db, "digits", 0, first)
    log_of(db, "digits", 1, second)
    found = run("logs", "digits", "2")
    texts = [line.partition(" | ")[2] for line in found.stdout.splitlines()]
    plain = [text for text in texts if not text.startswith("2026")]
    assert plain == ["model of 2", "model of 2 or 3", "of 2 alone", "resumed"]
    assert found.stdout.splitlines()[-1] == "worker-1 | resumed"
    assert "1 other trial trained in the same process" in found.stderr
    assert "ValueError: of 3" in run("logs", "digits", "3").stdout
    everything = run("logs", "digits").stdout.splitlines()
    assert len(everything) == 15
    assert "worker-0 | of none" in everything
    assert run("logs", "digits", "-n", "1").stdout == "worker-1 | resumed\n"
    # The logs have nothing of it: it may have run before they named trials.
    assert "trial 4 of digits has no output" in run("logs", "digits", "4", expect=1).stderr


def test_a_killed_worker_holds_its_trials_no_longer(run: Run, db: Database) -> None:
    fill(db)
    at, mark = "2026-01-31 12:00:00,000 INFO", "hpo.run.link.trial_log:"
    lines = ("trial 2 begins", "worker 7 begins")
    log_of(db, "digits", 0, "\nprinted\n".join(f"{at} {mark} {line}" for line in lines) + "\nno\n")
    assert run("logs", "digits", "2").stdout.splitlines()[1:] == ["printed"]


def test_all_outputs_of_a_study_of_a_command_are_printed(run: Run, db: Database) -> None:
    studies.create_or_join(db, SPEC, "/data")
    for number in range(3):
        path = Artifacts.of(find(db), db.url).trial_folder(number) / "output.log"
        path.parent.mkdir(parents=True)
        path.write_text(f"of {number}\n")
    lines = run("logs", "train").stdout.splitlines()
    assert sorted(lines) == [f"trial-{n:06} | of {n}" for n in range(3)]


def test_the_logs_of_a_study_are_followed_until_it_ends(run: Run, db: Database) -> None:
    """Also of a worker that starts meanwhile."""
    study_id = fill(db)
    log_of(db, "digits", 0, "one\n")

    def write() -> None:
        time.sleep(0.3)
        log_of(db, "digits", 1, "two\n")
        time.sleep(0.7)
        control.steer(db, study_id, "stop")

    writer = threading.Thread(target=write)
    writer.start()
    assert set(run("logs", "digits", "-f").stdout.splitlines()) == {"one", "worker-1 | two"}
    writer.join()
