"""What others wrote into a database is data: it never commands a terminal, nor floods it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from hpo.cli import progress_view
from hpo.cli.main import hpo
from hpo.report.progress import snapshot
from hpo.report.study_queries import find
from hpo.spec import toml
from hpo.spec.study_spec import StudySpec
from hpo.store.db import hpo_tables, optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from tests.kits.cli_kit import SPEC, fill

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
HOSTILE = "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202ertl\r\nerror: forged\u2028\x00\x7f[red]$\\frac$"
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
LONGEST = 1_200
"""Characters in a line: a message has a thousand at most, and words of ours around it."""

Run = Callable[..., Result]


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    db = open_database("sqlite:///hpo.db", create=True)
    fill(db)
    yield db
    db.dispose()


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(hpo, arguments, prog_name="hpo", input="n\n")
    assert "unexpected" not in result.stderr, (arguments, result.stderr)
    assert result.exit_code in (0, 1, 2, 3), (arguments, result.output)
    return result


def _require_plain(text: str, keep: str = "\n") -> None:
    wrong = {char for char in text if unicodedata.category(char) in FORBIDDEN} - set(keep)
    assert not wrong, (wrong, text[:500])
    # A line break in a cell of CSV is that of a quoted text.
    assert "\t" in keep or not any(line.startswith("error: forged") for line in text.splitlines())


def _poison(db: Database, text: str) -> str:
    """Writes a text wherever one of the database is free; returns the study's name."""
    quoted = json.dumps(text)
    name = f"digits{text}"[:500]
    table = SPEC.to_table()
    table["space"] |= {"kind": {"choices": [text, "b"]}}
    table["task_options"] = {"data": text}
    spec = toml.dumps(StudySpec(**table))
    choices = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [text]}})
    free: list[tuple[sa.Table, dict[str, Any]]] = [
        (optuna_tables.studies, {"study_name": name}),
        (hpo_tables.hpo_study, {"spec": spec, "reason": text, "base_dir": text}),
        (
            hpo_tables.hpo_worker,
            {"host": text, "device": text, "versions": json.dumps({text: text})},
        ),
        (hpo_tables.hpo_event, {"message": f"first\n{text} last", "kind": text}),
        (hpo_tables.hpo_lease, {"checkpoint": text}),
    ]
    with db.write() as conn:
        for where, values in free:
            conn.execute(sa.update(where).values(**values))
        attribute = optuna_tables.trial_user_attributes.c
        conn.execute(
            sa.update(optuna_tables.trial_user_attributes)
            .where(attribute.key != "best_epoch")
            .values(key=f"test_{text}"[:500], value_json=quoted)
        )
        param = optuna_tables.trial_params.c
        conn.execute(
            sa.update(optuna_tables.trial_params)
            .where(param.param_name == "width")
            .values(param_name=text[:500], param_value=0.0, distribution_json=choices)
        )
        metrics = json.dumps({"val_accuracy": 0.5, text: 0.25})
        conn.execute(sa.update(hpo_tables.hpo_epoch).values(metrics=metrics))
    return name


def _commands(name: str) -> list[list[str]]:
    looks = [["ls"], ["show", name], ["trials", name], ["trials", name, "--all"], ["best", name]]
    formats = [[*look, "-f", form] for look in looks for form in ("json", "csv")]
    return [
        *looks,
        *(line for line in formats if (line[0], line[-1]) != ("show", "csv")),
        *(["watch", name], ["watch", name, "-f", "json"], ["top"]),
        ["best", name, "--params"],
        ["plot", "curves", name],
        ["plot", "history", name, "-o", "history.svg"],
        ["show", f"{name}x"],
        ["ls", "--storage", f"sqlite:///{name[:80]}"],
        ["trials", name, "--state", name],
        ["enqueue", name, f"{name}=1"],
        ["pause", name],
        ["resume", name],
        ["update", name, "--trials", "50"],
        ["cancel", name],
        ["retry", name],
        ["db", "check"],
        ["delete", name],
    ]


def test_nothing_in_a_database_commands_the_terminal(db: Database) -> None:
    name = _poison(db, HOSTILE)
    commands = _commands(name)
    for line in commands:
        result = _run(*line)
        if line in commands[:13]:
            assert result.exit_code == 0, (line, result.stderr)
        if line[-1] == "json":
            found = json.loads(result.stdout)
            assert not isinstance(found, dict) or name in (found.get("name"), found.get("study"))
        _require_plain(result.stdout, "\n\t" if line[-1] == "csv" else "\n")
        _require_plain(result.stderr)
    assert json.loads(_run("ls", "-f", "json").stdout)[0]["name"] == name
    subject = find(db, name)
    view = progress_view.View(subject, snapshot(db, subject), notice=HOSTILE)
    for drawn in progress_view.lines(view, 80, ended=False):
        _require_plain(drawn.plain, "")


def test_long_names_and_messages_are_cut(db: Database) -> None:
    name = _poison(db, "long" * 25_000)
    for line in _commands(name):
        result = _run(*line)
        if line[-1] in ("json", "csv", "--params"):
            continue
        widest = max(map(len, (result.stdout + result.stderr).splitlines()), default=0)
        assert widest <= LONGEST, (line[:1], widest)
