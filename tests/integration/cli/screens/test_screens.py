"""``hpo watch`` and ``hpo top`` over a real database: pages, records, outages."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from rich.cells import cell_len

from hpo.cli.main import hpo
from hpo.cli.screens import database_screen, live_screen, study_screen
from hpo.cli.screens.live_screen import Look, Reader, footer
from hpo.errors import HpoError
from hpo.report.activity.database_activity import database_activity
from hpo.report.activity.study_activity import study_activity
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_worker
from hpo.store.studies import control
from tests.kits.cli_kit import fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
URL = "sqlite:///hpo.db"


@pytest.fixture
def db(sqlite_database: Database) -> Database:
    fill(sqlite_database)
    with sqlite_database.write() as conn:
        conn.execute(sa.update(hpo_worker).values(host="box", pid=7, machine="another"))
    sqlite_database.clock_offset = datetime.timedelta(seconds=10)
    return sqlite_database


def watched(db: Database, width: int = 80, height: int | None = None) -> list[str]:
    lines = study_screen.lines(study_activity(db, "digits"), URL, width, height)
    return [line.plain for line in lines]


def run(db: Database, *arguments: str, expect: int = 0) -> str:
    result = CliRunner().invoke(hpo, [*arguments, "--storage", db.url], prog_name="hpo")
    assert result.exit_code == expect, result.output
    return result.output


def test_a_running_study_fits_a_terminal_of_80_columns(db: Database) -> None:
    lines = watched(db)
    assert max(map(cell_len, lines)) <= 80
    assert lines[0] == "digits · active · sqlite:///hpo.db"
    assert lines[1].startswith(" 5/10 trials ━━━━")
    assert "1 failed" in lines[1]
    assert " trials/min · " in lines[2]
    assert lines[2].endswith(" left")
    text = "\n".join(lines)
    assert " best 0.7500 (trial 2, epoch 3)" in text
    assert "      val_accuracy  ▁▅█▅  0.7300 to 0.7400 in 4 epochs" in lines
    assert " trial 3 failed: ValueError: broken on purpose (hpo show digits)" in lines
    head = next(i for i, line in enumerate(lines) if line.startswith(" running"))
    assert lines[head].split() == [
        *("running", "epoch", "val_accuracy", "curve", "for", "reported", "worker", "device")
    ]
    assert lines[head + 1].startswith(" trial 5    2/4        0.0900  ▁█")
    assert lines[head + 1].endswith("box:7   cpu")
    head = next(i for i, line in enumerate(lines) if line.startswith(" workers"))
    assert lines[head + 1].split()[:4] == ["box:7", "cpu", "1", "-"]
    assert any(line.endswith("trial 3  ValueError: broken on purpose") for line in lines)


@pytest.mark.parametrize("height", [1, 5, 10, 16, 24])
@pytest.mark.parametrize("width", [20, 40, 80])
def test_screens_fit_any_terminal(db: Database, width: int, height: int) -> None:
    whole = database_screen.lines(database_activity(db), URL, width, height)
    for lines in (watched(db, width, height), [line.plain for line in whole]):
        assert 0 < len(lines) <= height
        assert max(map(cell_len, lines)) <= width


def test_each_state_says_what_a_user_may_do(db: Database) -> None:
    study_id = study_activity(db).subject.study_id
    control.steer(db, study_id, "pause")
    assert " paused; `hpo resume digits` resumes it" in watched(db)
    control.steer(db, study_id, "resume")
    db.clock_offset = datetime.timedelta(minutes=3)
    lines = watched(db)
    assert " 1 trial of a dead worker: another worker resumes them" in lines
    assert " no worker is running; `hpo worker digits` starts one" in lines
    assert any(line.endswith("3 min ago: dead") for line in lines)
    control.steer(db, study_id, "stop")
    assert " stopped; `hpo resume digits` and a worker resume it" in watched(db)


def test_a_pipe_gets_one_page_without_colours(db: Database) -> None:
    db.dispose()
    shown = run(db, "watch")
    assert shown.startswith("digits · active · ")
    assert "\x1b" not in shown
    assert "q or Ctrl-C" not in shown
    shown = run(db, "top", "--once")
    assert "1 study, 1 active · 1 worker · 1 running trial" in shown.splitlines()[0]
    assert shown.splitlines()[3].startswith(" digits   active    5/10        1        1  0.7500")


def test_the_keys_of_json_are_always_the_same(db: Database) -> None:
    fill_with_optuna(db)
    pages = [json.loads(run(db, "watch", name, "-f", "json")) for name in ("digits", "two")]
    assert pages[0].keys() == pages[1].keys()
    assert pages[0]["best"].keys() >= {"number", "value", "epoch", "params"}
    assert pages[0]["curve"]["val_accuracy"]["epochs"] == [1, 2, 3, 4]
    assert pages[0]["workers"][0]["state"] == "live"
    assert pages[0]["running"][0]["device"] == "cpu"
    page = json.loads(run(db, "top", "-f", "json"))
    assert page["studies"][0]["name"] == "digits"
    assert len({tuple(study) for study in page["studies"]}) == 1
    assert page["workers"][0]["study"] == "digits"


def test_an_unknown_study_is_an_error(db: Database) -> None:
    assert "Did you mean digits?" in run(db, "watch", "digts", expect=2)


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_page_waits_for_a_database_that_is_away(db: Database, tmp_path: Path) -> None:
    def read(known: Any) -> Any:
        return study_activity(db, "digits", known)

    reader = Reader(db, read, read(None), interval_s=0.01)
    first = reader.look()
    assert footer(first, 0.0, 80)[0].plain == " q or Ctrl-C leaves; workers are not affected"
    (tmp_path / "hpo.db").rename(tmp_path / "away.db")
    until(lambda: bool(reader.look().trouble))
    look = reader.look()
    told = " ".join(line.plain.strip() for line in footer(look, look.read_at_s + 70, 60))
    assert told.startswith("the page is 70 s old; waiting for the database: ")
    assert "was moved away" in told
    assert look.page.subject.name == "digits"
    (tmp_path / "away.db").rename(tmp_path / "hpo.db")
    until(lambda: not reader.look().trouble)
    assert reader.look().read_at_s > look.read_at_s
    reader.close()


def test_a_database_that_does_not_answer_is_told(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_screen, "SLOW_S", 0.0)
    answer, is_asked = threading.Event(), threading.Event()

    def read(known: str) -> str:
        is_asked.set()
        answer.wait()
        return "second"

    reader = Reader(db, read, "first", interval_s=0.01)
    assert is_asked.wait(10)
    look: Look[str] = reader.look()
    assert (look.page, look.trouble[:16]) == ("first", "it has not answe")
    answer.set()
    until(lambda: reader.page == "second")
    reader.close()


def test_an_error_that_waiting_does_not_help_ends_the_screen(db: Database) -> None:
    def read(known: str) -> str:
        raise HpoError("digits was deleted")

    reader = Reader(db, read, "first", interval_s=0.01)

    def has_failed() -> bool:
        try:
            reader.look()
        except HpoError as error:
            return error.message == "digits was deleted"
        return False

    until(has_failed)
