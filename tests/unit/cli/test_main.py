"""The command line itself: help, errors, exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hpo.cli.main import COMMANDS, hpo
from hpo.cli.options import Command
from hpo.errors import Problem, SpecError, StoreError

HEAVY = {"torch", "optuna", "sqlalchemy", "alembic", "pandas", "sklearn", "rich", "pydantic"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `fail` that raises what the list holds."""
    raised: list[BaseException] = []

    @click.command(cls=Command)
    def fail() -> None:
        raise raised[0]

    monkeypatch.setitem(COMMANDS, "fail", (f"{__name__}:fail", "Fails."))
    monkeypatch.setattr("hpo.cli.main.importlib.import_module", lambda name: _Module(fail))
    return raised


class _Module:
    def __init__(self, fail: click.Command) -> None:
        self.fail = fail


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import atexit, sys\nfrom hpo.cli.main import main\n"
        "atexit.register(lambda: print('LOADED', *sys.modules, file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.partition("LOADED")[2].split())
    assert loaded & HEAVY == set()
    assert "Usage: hpo" in done.stdout


def test_help_has_a_line_for_every_command() -> None:
    shown = CliRunner().invoke(hpo, ["--help"]).output
    width = max(map(len, COMMANDS)) + 1
    for name, (_, line) in COMMANDS.items():
        assert f"  {name:<{width}} {line}" in shown


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(hpo, [])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_explains_its_options(name: str) -> None:
    command = hpo.get_command(click.Context(hpo), name)
    assert command is not None
    assert command.name == name
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    assert [option.name for option in options if not option.help] == []
    shown = CliRunner().invoke(hpo, [name, "--help"])
    assert shown.exit_code == 0
    # The words of click's types say nothing to people.
    assert re.search("INTEGER|FLOAT| RANGE", shown.output) is None


def test_problems_are_listed_below_each_other(failing: list[BaseException]) -> None:
    failing.append(
        SpecError(
            source="broken.toml",
            problems=[
                Problem("space.learning_rate", "log = true needs low > 0; low is 0.0"),
                Problem("budget.epoch", "unknown key; did you mean epochs?"),
            ],
            hint="see docs",
        )
    )
    result = CliRunner().invoke(hpo, ["fail"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: broken.toml has 2 mistakes\n"
        "  space.learning_rate   log = true needs low > 0; low is 0.0\n"
        "  budget.epoch          unknown key; did you mean epochs?\n"
        "hint: see docs\n"
    )


def test_an_error_exits_with_its_code(failing: list[BaseException]) -> None:
    failing.append(StoreError("gone"))
    result = CliRunner().invoke(hpo, ["fail"])
    assert (result.exit_code, result.stderr) == (3, "error: gone\n")


@pytest.mark.parametrize("where", [["fail", "--debug"], ["--debug", "fail"]])
def test_debug_lets_errors_through(failing: list[BaseException], where: list[str]) -> None:
    failing.append(StoreError("gone"))
    result = CliRunner().invoke(hpo, where)
    assert isinstance(result.exception, StoreError)


def test_what_nobody_expected_is_one_line(failing: list[BaseException]) -> None:
    failing.append(ZeroDivisionError("by zero"))
    result = CliRunner().invoke(hpo, ["fail"])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: unexpected ZeroDivisionError: by zero; run again with --debug for the traceback\n"
    )


def test_an_interrupt_is_130(failing: list[BaseException]) -> None:
    failing.append(KeyboardInterrupt())
    result = CliRunner().invoke(hpo, ["fail"])
    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_a_reader_that_leaves_early_is_no_error() -> None:
    # As in `hpo --help | head -0`.
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "hpo", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


WRONG = [
    (["rn"], "No such command 'rn'. Did you mean run?"),
    (["trails"], "No such command 'trails'. Did you mean trials?"),
    (["qwertz"], "No such command 'qwertz'."),
    (["--verbos"], "No such option '--verbos'. Did you mean --verbose?"),
    (["db", "upgarde"], "No such command 'upgarde'. Did you mean upgrade?"),
    (["run", "x.toml", "--trails", "3"], "No such option '--trails'. Did you mean --trials?"),
    (
        ["run", "x.toml", "--trials", "0"],
        "Invalid value for '--trials': 0 is not in the range x>=1.",
    ),
    (
        ["run", "x.toml", "--epochs", "many"],
        "Invalid value for '--epochs': 'many' is not a whole number.",
    ),
    (
        ["run", "x.toml", "--hours", "-1"],
        "Invalid value for '--hours': -1.0 is not in the range x>0.",
    ),
    (
        ["run", "x.toml", "--workers", "0"],
        "Invalid value for '--workers' / '-j': 0 is not in the range 1<=x<=1000.",
    ),
    (
        # None is started: ten thousand processes bring a machine down.
        ["worker", "x", "-j", "10000"],
        "Invalid value for '--workers' / '-j': 10000 is not in the range 1<=x<=1000.",
    ),
    (
        ["run", "x.toml", "--target", "high"],
        "Invalid value for '--target': 'high' is not a number.",
    ),
    (["ls", "--storage", " "], "Invalid value for '--storage': it is empty"),
    (
        ["run", "x.toml", "--direction", "maximise"],
        "Invalid value for '--direction': 'maximise' is not one of minimize, maximize; "
        "did you mean maximize?",
    ),
    (["run", "a.toml", "b.toml"], "Got unexpected extra argument (b.toml)"),
    (["run", "x.toml", "--storage"], "Option '--storage' requires an argument."),
    (["check"], "Missing argument 'STUDY'."),
    (
        ["ls", "-f", "jsn"],
        "Invalid value for '-f' / '--format': 'jsn' is not one of table, json, csv; "
        "did you mean json?",
    ),
    (
        ["trials", "--sort", "bset"],
        "Invalid value for '--sort': 'bset' is not one of best, number, duration; "
        "did you mean best?",
    ),
    (
        ["trials", "--state", "prund"],
        "Invalid value for '--state': 'prund' is not one of COMPLETE, PRUNED, FAIL, RUNNING, "
        "PAUSED, WAITING; did you mean PRUNED?",
    ),
    (
        ["dashboard", "--port", "99999"],
        "Invalid value for '--port': 99999 is not in the range 0<=x<=65535.",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_a_wrong_command_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(hpo, arguments, prog_name="hpo")
    assert result.exit_code == 2
    assert result.stdout == ""
    first, *hints = result.stderr.splitlines()
    assert first == f"error: {message}"
    assert all(hint.startswith("hint: hpo ") and hint.endswith("--help") for hint in hints)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m hpo ls {closed}'
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    # There is no database here, and that is all that is wrong.
    assert ended.returncode == 3
    assert "Error" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("--storage sqlite:///x.db ls", "--storage goes after the command: hpo ls --storage URL"),
        ("-f json ls", "-f goes after the command: hpo ls -f"),
        ("db --storage x check", "--storage goes after the command: hpo db check --storage"),
        ("--yes delete x", "--yes goes after the command: hpo delete --yes\n"),
        ("--storge x ls", "hpo --help"),
        ("--storage x", "hpo --help"),
    ],
)
def test_an_option_before_its_command(line: str, hint: str) -> None:
    done = CliRunner().invoke(hpo, line.split(), prog_name="hpo")
    assert done.exit_code == 2
    assert f"hint: {hint}" in done.stderr
