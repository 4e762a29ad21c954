"""The JSON of commands has the keys and types of docs/json.md: no more, no less."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpo.cli.main import hpo
from hpo.search.base.decision_replay import Record
from hpo.search.base.decisions import Ask
from hpo.search.base.grants import Granted
from hpo.spec.study_spec import StudySpec
from hpo.store.db.hpo_tables import hpo_suggestion
from hpo.store.db.opening import open_database
from hpo.store.rows import decision_log
from hpo.store.studies import studies
from tests.kits.cli_kit import SPEC, fill

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
PAGE = (Path(__file__).parents[3] / "docs/json.md").read_text("utf-8")
LINES = {
    "hpo ls": ("ls",),
    "hpo show": ("show", "digits", "--outlook"),
    "hpo show --trial": ("show", "digits", "--trial", "3"),
    "hpo trials": ("trials", "digits"),
    "hpo best": ("best", "digits"),
    "hpo compare": ("compare", "digits", "wide"),
    "hpo doctor": ("doctor",),
    "hpo replay": ("replay", "digits"),
}
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "time": (str,),
    "integer": (int,),
    "number": (int, float, str),
    "boolean": (bool,),
    "list": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def documented(section: str) -> dict[str, str]:
    """Returns the type of each key in the table of a section."""
    body = PAGE.partition(f"\n## `{section}`\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", body, re.M))


def entries(value: Any, keys: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the keys of a record as the page writes them, with their values."""
    if isinstance(value, list):
        for element in value if not path or any(k.startswith(f"{path}[].") for k in keys) else ():
            yield from entries(element, keys, f"{path}[]" if path else "")
    elif isinstance(value, dict):
        for name, entry in value.items():
            key = f"{path}.{name}" if path else name
            if f"{path}.*" in keys:
                key = f"{path}.*"
            yield key, entry
            # Names in an object whose names are not listed are the user's own.
            if any(k.startswith((f"{key}.", f"{key}[].")) for k in keys):
                yield from entries(entry, keys, key)


@pytest.mark.parametrize("section", LINES)
def test_a_record_has_the_keys_of_the_page(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    db = open_database("sqlite:///hpo.db", create=True)
    study_id = fill(db)
    studies.create_or_join(db, StudySpec(**{**SPEC.to_given(), "name": "wide"}), None)
    with db.write() as conn:
        conn.execute(hpo_suggestion.delete())
    granted = (Granted(3, 0, 4, True, {"by": "knowledge"}),)
    record = Record((), Ask(1), {}, granted=granted)
    decision_log.add(db, study_id, 1, record.to_json())
    result = CliRunner().invoke(hpo, [*LINES[section], "-f", "json"], prog_name="hpo")
    assert result.exit_code == 0, result.output
    keys = documented(section)
    assert len(keys) > 5
    found: dict[str, list[Any]] = {}
    for key, value in entries(json.loads(result.stdout), keys):
        found.setdefault(key, []).append(value)
    assert found.keys() - keys.keys() == set()
    assert {k for k in keys.keys() - found.keys() if not _may_be_missing(k, found)} == set()
    for key, values in found.items():
        allowed = tuple(t for name in keys[key].split(" or ") for t in TYPES[name])
        assert all(isinstance(value, allowed) for value in values), (key, values)


def _may_be_missing(key: str, found: dict[str, list[Any]]) -> bool:
    """Returns whether a key is below one that is null or empty here."""
    parent = re.sub(r"(\[\])?\.[^.]*$", "", key)
    return parent != key and not any(found.get(parent, ()))


def test_every_command_with_records_of_a_study_is_on_the_page() -> None:
    assert re.findall(r"^## `(.*)`$", PAGE, re.M) == list(LINES)
