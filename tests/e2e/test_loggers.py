"""Loggers of a package that misbehave, each in its way: no trial notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_PACKAGE = '''
import json, os, pathlib, time


class Lines:
    """Keeps what it is given as lines of a file."""

    def __init__(self, target, study):
        self.file = pathlib.Path(target)

    def begin(self, trial):
        known = self.file.read_text().splitlines() if self.file.exists() else []
        rows = [json.loads(line) for line in known]
        return max([row[1] for row in rows if row[0] == trial.number], default=-1)

    def log(self, trial, epochs):
        with self.file.open("a") as stream:
            for epoch in epochs:
                stream.write(json.dumps([trial.number, epoch.epoch]) + "\\n")

    def pause(self, trial):
        pass

    def end(self, trial, ending):
        pass

    def finish(self, ending):
        pass

    def close(self):
        pass


class Raises(Lines):
    def log(self, trial, epochs):
        raise RuntimeError(f"no room at {self.file}")


class Exits(Lines):
    def log(self, trial, epochs):
        os._exit(7)


class Leaves(Lines):
    def begin(self, trial):
        raise SystemExit("enough")


class Hangs(Lines):
    def begin(self, trial):
        time.sleep(1e6)
'''
_NAMES = ("Lines", "Raises", "Exits", "Leaves", "Hangs")


def install(folder: Path) -> None:
    """Installs a package with loggers into a folder."""
    (folder / "own_loggers.py").write_text(_PACKAGE)
    about = folder / "own_loggers-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-loggers\nVersion: 1.0\n")
    points = "\n".join(f"{name.lower()} = own_loggers:{name}" for name in _NAMES)
    (about / "entry_points.txt").write_text(f"[hpo.loggers]\n{points}\n")


def test_loggers_that_fail_cost_no_trial_and_no_other_logger(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(shell.folder)
    monkeypatch.setenv("PYTHONPATH", str(shell.folder))
    names = ["lines=out", "raises=http://lab/s3cretPath", "exits=x", "leaves=x", "hangs=x"]
    given = [part for name in names for part in ("--log", name)]
    process = shell.start("run", "digits-mlp", "--trials", "3", "-j", "1", *given)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "3/3 trials" in output
    rows = sorted(
        tuple(int(word) for word in line.strip("[]").split(","))
        for line in (shell.folder / "out").read_text().splitlines()
    )
    reported = "SELECT number, epoch FROM hpo_epoch JOIN trials USING (trial_id) ORDER BY 1, 2"
    assert rows == shell.query(reported)
    warned = [line for line in output.splitlines() if line.startswith("warning:")]
    for name, why in (
        ("raises", "RuntimeError: no room at"),
        ("exits", "its process died (exit code 7)"),
        ("leaves", "SystemExit: enough"),
        ("hangs", "not all is logged; the same command again logs the rest"),
    ):
        assert any(line.startswith(f"warning: {name}: ") and why in line for line in warned), name
    assert "s3cretPath" not in output
    logs = shell.folder.glob("hpo.artifacts/*/logs/logger-*.log")
    assert not any("s3cretPath" in path.read_text() for path in logs)


def test_a_logger_that_is_not_there_is_refused_before_anything_is_made(shell: Shell) -> None:
    process = shell.start("run", "digits-mlp", "--log", "tensorbord")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "there is no logger tensorbord; did you mean tensorboard?" in output
    assert not (shell.folder / "hpo.db").exists()
