"""The commands that change a study, as they answer in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from hpo.cli.main import hpo
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_lease
from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.leases import Outcome
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import worker_list
from hpo.store.studies import study_records
from tests.kits.cli_kit import fill

pytestmark = pytest.mark.integration

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder, with what a person types at its questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    monkeypatch.delenv("HPO_ARTIFACTS", raising=False)

    def run(*arguments: str, expect: int = 0, typed: str = "") -> Result:
        result = CliRunner().invoke(hpo, arguments, prog_name="hpo", input=typed)
        assert result.exit_code == expect, result.output
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture
def filled(run: Run) -> Database:
    """The study `digits`; its worker is at work."""
    db = open_database("sqlite:///hpo.db", create=True)
    fill(db)
    return db


def _let_workers_leave(db: Database) -> None:
    for worker in worker_list.live(db):
        workers.retire(db, worker.worker_id)


def test_pause_resume_and_stop_say_what_follows(run: Run, filled: Database) -> None:
    out = run("pause", "digits").stdout
    assert out.startswith("digits is paused: running trials are suspended at their next epoch")
    assert run("pause", "digits").stdout == "digits is already paused\n"
    assert "paused" in run("ls").stdout
    assert run("resume", "digits").stdout == "digits is active\n"
    assert "; `hpo resume digits` resumes it" in run("stop", "digits").stdout
    _let_workers_leave(filled)
    out = run("resume", "digits").stdout
    assert out == "digits is active; it has no workers: `hpo run digits` starts some\n"
    result = run("pause", "digit", expect=2)
    assert "did you mean digits?" in result.stderr


def test_update_says_what_changed_and_what_follows(run: Run, filled: Database) -> None:
    assert run("update", "digits", "--trials", "12").stdout == "digits: trials 10 -> 12\n"
    assert run("update", "digits", "--trials", "12").stdout == "digits: the budget is unchanged\n"
    out = run("update", "digits", "--target", "0.75").stdout
    assert out == "digits: target none -> 0.75; it is done (target)\n"
    assert run("pause", "digits", expect=1).stderr == (
        "error: digits is done (target); there is nothing to pause\n"
        "hint: `hpo update digits` gives it more to do\n"
    )
    out = run("update", "digits", "--target", "none", "--deadline", "+2h").stdout
    assert "hours none -> 2.0" in out
    assert out.endswith("UTC); it resumes\n")
    assert "; it resumes" not in run("update", "digits", "--deadline", "none").stdout
    assert study_records.load(filled, "digits").budget.hours is None
    assert "set one of" in run("update", "digits", "--trials", "none", expect=2).stderr
    assert "say what to update" in run("update", "digits", expect=2).stderr
    both = run("update", "digits", "--hours", "2", "--deadline", "+2h", expect=2)
    assert "not both" in both.stderr


def test_a_budget_lowered_below_what_has_ended_is_told_as_such(run: Run, filled: Database) -> None:
    run("update", "digits", "--trials", "1")
    assert " 5/5 (budget 1) " in run("ls").stdout
    assert "5 (budget 1): 3 complete" in run("show", "digits").stdout
    (record,) = json.loads(run("ls", "-f", "json").stdout)
    assert (record["n_finished"], record["n_trials"]) == (5, 1)


def test_cancel_retry_and_enqueue(run: Run, filled: Database) -> None:
    assert run("cancel", "digits").stdout == "digits: cancelled trial 5\n"
    assert run("cancel", "digits").stdout == "digits: no trial is running or waiting\n"
    result = run("cancel", "digits", "0", "9", expect=2)
    assert "trial 0   has ended: it is COMPLETE" in result.stderr
    assert "trial 9   there is none" in result.stderr

    nothing = run("retry", "digits", "--reason", "oom").stdout
    assert nothing == "digits: no failed trial for oom is left to retry\n"
    assert run("retry", "digits").stdout == "digits: enqueued again: trial 3 as 6\n"
    assert "was retried as trial 6" in run("retry", "digits", "3", expect=2).stderr
    assert (
        "did you mean user_code" in run("retry", "digits", "--reason", "usercode", expect=2).stderr
    )

    result = run("enqueue", "digits", "widht=32", "depth=9", "optimizer=adam", expect=2)
    for line in (
        "widht       no such parameter; did you mean width?",
        "depth       must be a whole",
    ):
        assert line in result.stderr
    out = run("enqueue", "digits", "width=64", "depth=2", "--n", "2").stdout
    assert out == "digits: trials 7 and 8 wait to start with width = 64, depth = 2\n"
    page = run("show", "digits").stdout
    assert " user code  1     trial 3: ValueError: broken on purpose" in page
    assert " cancelled  1     trial 5: by `hpo cancel`" in page
    record = json.loads(run("show", "digits", "-f", "json").stdout)
    assert {(e["state"], e["kind"], e["n"]) for e in record["endings"]} == {
        ("FAIL", "user_code", 1),
        ("FAIL", "cancelled", 1),
        ("PRUNED", "pruned", 1),
    }


def test_delete_asks_and_spares_a_study_that_is_worked_on(run: Run, filled: Database) -> None:
    folder = Path("hpo.artifacts/digits")
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "trial-000002.pt").write_text("weights")
    other = Path("hpo.artifacts/other")
    other.mkdir()

    assert "1 worker is running on digits" in run("delete", "digits", "--yes", expect=1).stderr
    _let_workers_leave(filled)
    result = run("delete", "digits", typed="n\n", expect=1)
    assert "delete digits: 6 trials in sqlite:///hpo.db, 1 files in" in result.stderr
    assert "nothing was deleted" in result.stderr
    assert study_records.names(filled) == ["digits"]
    assert run("delete", "digits", typed="y\n").stdout.startswith("deleted digits: 6 trials")
    assert study_records.names(filled) == []
    assert (folder.exists(), other.exists()) == (False, True)
    run("delete", "digits", expect=2)


def test_delete_by_force_and_without_the_files(run: Run, filled: Database) -> None:
    folder = Path("hpo.artifacts/digits")
    folder.mkdir(parents=True)
    run("delete", "digits", "-y", "--force", "--keep-files")
    assert study_records.names(filled) == []
    assert folder.exists()


def test_a_stopped_study_without_budget_is_pointed_to_update(run: Run, filled: Database) -> None:
    # Five have ended, and the sixth ends with the study.
    run("update", "digits", "--trials", "6")
    out = run("stop", "digits").stdout
    assert out.endswith("; its budget is spent: `hpo update digits --trials N` raises it\n")
    with filled.read() as conn:
        trial_id, token = conn.execute(sa.select(hpo_lease.c.trial_id, hpo_lease.c.token)).one()
    Ledger(filled).settle([Outcome(trial_id, token, "pruned", (0.1,), reason="stopped")])
    _let_workers_leave(filled)
    error = run("worker", "digits", expect=1).stderr
    assert "digits is stopped; its budget is spent: `hpo update digits --trials N`" in error
    assert run("resume", "digits").stdout == (
        "digits has nothing left to do; the study is done (budget): "
        "`hpo update digits --trials N` raises its budget\n"
    )
    assert "; it resumes: `hpo run digits`" in run("update", "digits", "--trials", "7").stdout


def test_delete_without_a_terminal(run: Run, filled: Database) -> None:
    _let_workers_leave(filled)
    said = run("delete", "digits", expect=2).stderr
    assert said.endswith(
        "error: deleting needs a confirmation and there is no terminal; nothing was deleted\n"
        "hint: --yes deletes without asking\n"
    )
    assert "digits" in run("ls").stdout
    assert "nothing was deleted" in run("delete", "digits", expect=1, typed="n\n").stderr
