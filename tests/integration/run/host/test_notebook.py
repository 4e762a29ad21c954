"""A study in a notebook: its card, drawn again while it runs; and `hpo.open`."""

from __future__ import annotations

import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import hpo
from hpo.errors import SpecError, StoreError
from hpo.run.host import notebook
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.studies import study_records
from tests.kits.cli_kit import fill, fill_with_optuna
from tests.kits.ledger_kit import new_study, set_state

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


def words_of(card: str) -> str:
    """Returns the text of a card, which must be well-formed."""
    return " ".join("".join(ET.fromstring(card).itertext()).split())


def test_a_study_shows_itself(database: Database) -> None:
    fill(database)
    study = hpo.open("digits", storage=database.url)
    assert repr(study) == "<Study digits: active, 5 trials ended, best 0.75 (trial 2)>"
    card = study._repr_html_()
    said = words_of(card)
    assert "digits" in said
    assert "1 worker" in said
    assert "3 complete · 1 pruned · 1 failed · 1 running of 10" in said
    assert "best val_accuracy 0.75 in trial 2" in said
    assert "optimizersgd" in said.replace(" ", "")
    assert card.count("<circle") == 3
    assert "<script" not in card
    study._db.dispose()


def test_names_of_others_are_text(sqlite_database: Database) -> None:
    study_id = fill(sqlite_database)
    hostile = "<script>alert(1)</script>\x1b[31m"
    table = optuna_tables.studies
    with sqlite_database.write() as conn:
        renamed = sa.update(table).where(table.c.study_id == study_id).values(study_name=hostile)
        conn.execute(renamed)
    card = hpo.open(hostile, storage=sqlite_database.url)._repr_html_()
    assert "<script" not in card
    assert "\x1b" not in card
    assert "alert(1)" in words_of(card)


def test_open_names_what_there_is(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    with pytest.raises(SpecError, match=r"has no study; name one: hpo\.open"):
        hpo.open()
    new_study(sqlite_database, "digits")
    assert hpo.open().name == "digits"
    with pytest.raises(SpecError, match="did you mean digits"):
        hpo.open("digit")
    new_study(sqlite_database, "churn")
    with pytest.raises(SpecError, match="several studies: churn, digits"):
        hpo.open()
    fill_with_optuna(sqlite_database)
    with pytest.raises(StoreError, match="two"):
        hpo.open("two")
    with pytest.raises(StoreError, match="there is no database"):
        hpo.open("digits", storage="sqlite:///elsewhere.db")
    assert "open" not in hpo.__all__
    assert "no trial is complete yet" in hpo.open("churn")._repr_html_()


class _Shell:
    """The part of IPython that shows HTML and replaces it."""

    kernel = object()

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, found: Any, display_id: bool) -> _Shell:
        assert display_id
        self.shown.append(found)
        return self

    def update(self, found: Any) -> None:
        self.shown.append(found)


def test_progress_is_drawn_in_place_in_a_notebook_alone(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = fill(sqlite_database)
    record = study_records.load(sqlite_database, "digits")
    assert notebook.live_display(sqlite_database, record) is None
    shell = _Shell()
    python, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    vars(python)["get_ipython"] = lambda: shell
    vars(display).update(display=shell.display, HTML=str)
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook, "REDRAW_S", 0.0)
    monkeypatch.setattr(notebook, "MOST_SHARE", 1e9)
    draw = notebook.live_display(sqlite_database, record)
    assert draw is not None
    draw()
    draw()
    assert len(shell.shown) == 1
    set_state(sqlite_database, study_id, "done", "trials")
    study = hpo.open("digits", storage=sqlite_database.url)
    study.watch(interval_s=0.01)
    assert "done (trials)" in words_of(shell.shown[-1])
