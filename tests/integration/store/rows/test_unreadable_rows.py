"""Unreadable rows: the commands name them, and continue the other studies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from hpo.cli.main import hpo
from hpo.store.db import hpo_tables, optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.rows import stored_specs, unreadable_rows
from tests.kits.cli_kit import fill

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
DEEP = "[" * 20_000
NO_CHOICE = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": ["a"]}})


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    db = open_database("sqlite:///hpo.db", create=True)
    fill(db)
    optuna.create_study(study_name="other", storage=db.url)
    yield db
    db.dispose()


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(hpo, arguments, prog_name="hpo")


def _spoil(db: Database, table: str, column: str, value: Any) -> None:
    """Puts a value into the last row of a table, whatever its type."""
    with db.engine.begin() as conn:
        conn.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        # `hpo show` lists the others only.
        conn.exec_driver_sql("DELETE FROM hpo_event WHERE kind = 'complete'")
        conn.exec_driver_sql(
            f"UPDATE {table} SET {column} = ? WHERE rowid IN (SELECT max(rowid) FROM {table})",
            (value,),
        )


@pytest.mark.parametrize(
    ("table", "column", "value", "command", "told"),
    [
        ("hpo_study", "spec", "no toml", "show digits", "it is not TOML"),
        ("hpo_study", "spec", f"a = {DEEP}", "pause digits", "it is nested too deeply"),
        ("hpo_study", "spec", "name = 'd'", "trials digits", "task: missing"),
        ("hpo_study", "spec", b"\xff", "best digits", "it is no text"),
        ("hpo_study", "prior", "{}", "show digits", "a JSON table with sources; found '{}'"),
        ("hpo_worker", "versions", "{", "show digits", "it must be JSON; found '{'"),
        ("hpo_worker", "heartbeat_at", "noon", "show digits", "it must be a time; found 'noon'"),
        ("hpo_suggestion", "record", "[]", "replay digits", "record cannot be read: TypeError"),
        ("hpo_event", "at", "noon", "show digits", "it must be a time; found 'noon'"),
        ("hpo_epoch", "metrics", '{"val_accuracy": "x"}', "plot curves digits", "of numbers"),
        ("trial_params", "distribution_json", "{", "trials digits", "it must be JSON; found '{'"),
        ("trial_params", "distribution_json", NO_CHOICE, "trials digits", "one of 1 choices"),
        ("trial_params", "param_value", "x", "trials digits", "it must be a number; found 'x'"),
        ("trial_params", "param_value", None, "trials digits", "it is NULL"),
        ("trial_user_attributes", "value_json", DEEP, "trials digits", "it must be JSON"),
        ("trial_values", "value", "x", "best digits", "it must be a number; found 'x'"),
        ("trial_values", "value_type", "ODD", "trials digits", "it must be one of FINITE"),
        ("trials", "state", "ODD", "show digits", "it must be one of RUNNING"),
        ("trials", "datetime_start", "noon", "trials digits", "it must be a time; found 'noon'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    db: Database, table: str, column: str, value: Any, command: str, told: str
) -> None:
    _spoil(db, table, column, value)
    result = _run(*command.split())
    (line, *hints) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"table {table}, " in line
    assert told in line
    assert len(line) < 500
    assert all(hint.startswith("hint: ") for hint in hints)


def test_the_list_goes_on_with_the_other_studies(db: Database) -> None:
    huge = "x = 1 # " + "long " * 4_000_000
    for value, told in ((huge, "characters; 1,000,000 are the most"), ("a = ", "it is not TOML")):
        _spoil(db, "hpo_study", "spec", value)
        result = _run("ls")
        assert result.exit_code == 0
        assert [row.split()[0] for row in result.stdout.splitlines()] == ["name", "digits", "other"]
        (line,) = result.stderr.splitlines()
        assert line.startswith("warning: table hpo_study, study 'digits': its spec cannot be read")
        assert told in line
    assert [row["name"] for row in json.loads(_run("ls", "-f", "json").stdout)] == [
        "digits",
        "other",
    ]
    # Where reading all at once fails, each is read by itself.
    _spoil(db, "trials", "datetime_complete", "noon")
    result = _run("ls")
    assert "\n other " in result.stdout
    assert "digits  unreadable  - " in result.stdout
    assert "table trials, row trial_id 6: datetime_complete cannot be read" in result.stderr


def test_a_study_that_cannot_be_read_can_be_deleted(db: Database) -> None:
    _spoil(db, "hpo_study", "spec", "no toml")
    _spoil(db, "trials", "state", "ODD")
    assert _run("delete", "digits", "-y", "--force").exit_code == 0
    assert [row["name"] for row in json.loads(_run("ls", "-f", "json").stdout)] == ["other"]


def test_a_study_without_a_direction(db: Database) -> None:
    with db.write() as conn:
        conn.execute(sa.delete(optuna_tables.study_directions))
    result = _run("show", "digits")
    assert (result.exit_code, result.stderr) == (
        3,
        "error: table study_directions: the study 'digits' has no row that can be read\n",
    )


def test_a_sound_database_has_no_such_row(database: Database) -> None:
    study_id = fill(database)
    assert unreadable_rows.first(database) is None
    with database.write() as conn:
        conn.execute(sa.update(hpo_tables.hpo_epoch).values(metrics="[1]"))
        first = conn.scalar(sa.select(sa.func.min(hpo_tables.hpo_epoch.c.trial_id)))
    assert unreadable_rows.first(database, study_id) == (
        f"table hpo_epoch, row trial_id {first}, epoch 1: "
        "metrics cannot be read: it must be a JSON table of numbers; found '[1]'"
    )
    assert unreadable_rows.first(database, study_id + 1) is None


def test_specs_of_any_size_are_read_or_refused_at_once() -> None:
    head = 'name = "s"\ntask = "digits-mlp"\n[budget]\ntrials = 1\n[space]\n'
    many = "".join(f"p{i} = 1\n" for i in range(stored_specs.MOST_PARAMETERS + 1))
    started = os.times().user
    with pytest.raises(Exception, match="10,001 parameters; 10,000 are the most"):
        stored_specs.read(head + many, "s")
    assert os.times().user - started < 5
