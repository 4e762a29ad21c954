"""The progress display over a real database, with a session that only pretends to work."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console

from hpo.cli import progress_view, run_display
from hpo.report.text.text_tables import UNLIMITED
from hpo.run.host.session import RunEnd
from hpo.store.db import driver_errors
from hpo.store.db.database import Database
from hpo.store.studies import studies
from hpo.store.studies.study_records import StudyRecord
from tests.kits.cli_kit import SPEC, fill

pytestmark = pytest.mark.integration


@dataclass
class Session:
    """What the display sees of `hpo.run.host.session.Session`."""

    db: Database
    study: StudyRecord
    during: Callable[[], None]
    end: RunEnd = field(default_factory=lambda: RunEnd("done"))
    n_workers: int = 2
    device: str = "cpu"
    engine: str = "solo"
    notice: str = ""
    trouble: str = ""

    def wait(self, on_tick: Callable[[], None]) -> RunEnd:
        self.during()
        on_tick()
        return self.end


def _follow(db: Database, console: Console, **changes: Any) -> RunEnd:
    study, _ = studies.create_or_join(db, SPEC, None)
    session = Session(db, study, **{"during": lambda: fill(db), **changes})
    return run_display.follow(session, console, "sqlite:///x.db")  # type: ignore[arg-type]


def _console(*, is_terminal: bool, width: int) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=is_terminal, width=width, markup=False, highlight=False
    )
    return console, stream


@pytest.fixture(autouse=True)
def _always_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDRAW_S", "PLAIN_S"):
        monkeypatch.setattr(run_display, name, -1.0)
    monkeypatch.setattr(run_display, "MAX_SHARE", math.inf)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_plain_lines_into_a_pipe(
    sqlite_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    console, stream = _console(is_terminal=False, width=UNLIMITED)
    _follow(sqlite_database, console)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial 3 failed: ValueError: broken on purpose (hpo show digits)"
    assert lines[1] == "5/10 trials, 1 stopped early, 1 failed, best 0.7500 (trial 2)"
    assert lines[2].startswith("5/10 trials · 1 stopped early · 1 failed · 18 of 40 epochs · ")
    assert lines[3].startswith("best 0.7500 (trial 2, epoch 3)   learning_rate ")
    # Test metrics are shown by other commands, when the study is done.
    assert lines[4:] == []
    heading, farewell = stream.getvalue().splitlines()
    assert heading == f"digits · {sqlite_database.masked_url} · 2 workers on cpu · engine solo"
    assert farewell == (
        " next: hpo best digits · hpo plot history digits · hpo dashboard"
        "  (with --storage sqlite:///x.db)"
    )
    assert "\x1b" not in stream.getvalue()


def test_a_live_display_ends_with_the_result(sqlite_database: Database) -> None:
    console, stream = _console(is_terminal=True, width=100)
    _follow(sqlite_database, console)
    last = stream.getvalue().rpartition("5/10 trials")[2]
    assert "broken on purpose" in last
    assert "0.7500 (trial 2, epoch 3)" in last
    assert "next: hpo best digits" in last


def test_an_interrupted_study_says_how_it_goes_on(
    sqlite_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    console, stream = _console(is_terminal=False, width=UNLIMITED)
    end = RunEnd("interrupted", "interrupted; run the same command again to resume", 130)
    assert _follow(sqlite_database, console, end=end) == end
    assert (
        stream.getvalue().splitlines()[-1] == " interrupted; run the same command again to resume"
    )
    assert "next:" not in stream.getvalue()


def test_a_display_outlives_an_outage(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = sqlite_database
    fill(db)
    study, _ = studies.create_or_join(db, SPEC, None)
    tracker = run_display.Tracker(Session(db, study, lambda: None))  # type: ignore[arg-type]
    before = tracker.look()

    def broken(*_: Any, **__: Any) -> None:
        error = sa.exc.TimeoutError("gone")
        raise driver_errors.explain(error, db.engine.url) from error

    monkeypatch.setattr(run_display, "snapshot", broken)
    assert tracker.look(force=True).snapshot == before.snapshot


def test_a_database_that_cannot_be_written_is_told_until_it_is_back(
    sqlite_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    db = sqlite_database
    study, _ = studies.create_or_join(db, SPEC, None)
    session = Session(db, study, lambda: None)
    tracker = run_display.Tracker(session)  # type: ignore[arg-type]
    display = run_display.PlainDisplay(tracker)
    said = []
    for trouble in ("", "the disk is full", "the disk is full", "", "the disk is full"):
        session.trouble = trouble
        display.tick()
        said.append([x for x in capsys.readouterr().out.splitlines() if "trials" not in x])
    away = ["waiting for the database: the disk is full"]
    assert said == [[], away, [], ["running again"], away]
    (*_, last) = progress_view.lines(tracker.look(), 200, ended=False)
    assert last.plain.strip() == away[0]
    # What a person has ordered goes before it.
    session.notice = "ending at once"
    assert tracker.look().notice == "ending at once"


def test_the_pace_does_not_count_the_time_that_workers_take_to_start(
    sqlite_database: Database,
) -> None:
    db, now_s = sqlite_database, [0.0]
    study, _ = studies.create_or_join(db, SPEC, None)
    session = Session(db, study, lambda: None)
    tracker = run_display.Tracker(session, clock=lambda: now_s[0])  # type: ignore[arg-type]
    now_s[0] = 10.0
    assert tracker.look().trials_per_s is None
    fill(db)
    now_s[0] = 12.0
    view = tracker.look()
    assert view.trials_per_s == pytest.approx(5 / 2)
    assert view.overall_per_s == pytest.approx(5 / 12)
    assert view.left_s == pytest.approx(2)
