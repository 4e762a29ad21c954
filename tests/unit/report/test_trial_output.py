"""What a trial's command has printed, as a terminal may show it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from hpo.report import trial_output


def test_lines_hold_nothing_that_changes_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"plain\n\x1b[31mred\x1b[0m\n 10%\r 50%\r100%\nbroken \xff\nno end")
    lines = list(trial_output.lines_of(path))
    assert lines[0] == "plain"
    assert "\x1b" not in lines[1]
    assert "red" in lines[1]
    assert lines[2] == "100%"
    assert lines[4] == "no end"
    assert list(trial_output.lines_of(path, 2)) == lines[3:]


def test_new_lines_are_followed_until_the_trial_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("old\n")
    ended = threading.Event()

    def write() -> None:
        time.sleep(0.1)
        with path.open("a") as file:
            file.write("one\ntw")
            file.flush()
            time.sleep(0.1)
            file.write("o\nlast")
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert list(trial_output.new_lines(path, ended.is_set)) == ["one", "two", "last"]
    thread.join()
