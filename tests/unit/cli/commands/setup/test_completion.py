"""``hpo completion``: what a shell completes, and where its script is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from hpo.cli.main import hpo
from hpo.store.db.opening import open_database
from tests.kits.cli_kit import fill


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HPO_STORAGE", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(words: list[str], incomplete: str) -> list[str]:
    found = ShellComplete(hpo, {}, "hpo", "_HPO_COMPLETE").get_completions(words, incomplete)
    return [item.value for item in found]


def install(shell: str) -> str:
    result = CliRunner().invoke(hpo, ["completion", shell, "--install"], prog_name="hpo")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_commands_options_and_studies_are_completed(home: Path) -> None:
    assert completed([], "comp") == ["compare", "completion"]
    assert "--set" in completed(["run"], "--s")
    assert completed(["show"], "") == []
    fill(open_database("sqlite:///hpo.db", create=True))
    assert completed(["show"], "dig") == ["digits"]
    assert completed(["show"], "x") == []
    assert completed(["show", "--storage", "sqlite:///none.db"], "") == []
    assert completed(["run"], "study.t") == ["study.t"]


@pytest.mark.parametrize(("shell", "file"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_the_line_that_loads_it_is_added_once(home: Path, shell: str, file: str) -> None:
    (home / file).write_text("alias ll='ls -l'\n")
    assert "added a line" in install(shell)
    once = (home / file).read_text()
    assert once.startswith("alias ll='ls -l'\n")
    assert f"completion.{shell}" in once
    assert "added a line" not in install(shell)
    assert (home / file).read_text() == once


def test_fish_needs_no_line(home: Path) -> None:
    install("fish")
    assert "hpo" in (home / ".config/fish/completions/hpo.fish").read_text()


@pytest.mark.slow
def test_bash_completes_what_is_typed(home: Path) -> None:
    """In a new interactive shell, as after the installation."""
    install("bash")
    typed = (
        'COMP_WORDS=(hpo comple) COMP_CWORD=1; _hpo_completion hpo; echo "found ${COMPREPLY[@]}"'
    )
    folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-i", "-c", f"PATH={folder}:$PATH; {typed}"],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert "found completion" in done.stdout, done.stderr
