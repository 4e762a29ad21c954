"""Layout of the code: folders one can survey, names that mean one thing, tests in their places."""

from __future__ import annotations

import io
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "hpo").rglob("*.py"))
KINDS = ("unit", "contracts", "property", "integration")
MOST_MODULES = 16
SAME_THING = {"dashboard", "data", "db", "optuna", "run", "trials"}
"""Commands are called after what they are about, and what speaks Optuna is called after it."""
PRIVATE = {
    *("aside", "belief", "blueprint", "board", "boarding", "course", "evidence", "farewell"),
    *("guess", "homes", "mislaid", "nursery", "patient", "post", "roster", "standing", "terrain"),
    *("turn", "wish", "wishes"),
}
"""Words that the code once had of its own for what the field has a term for."""


def test_no_folder_holds_more_modules_than_one_can_survey() -> None:
    sizes = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    crowded = {f.relative_to(ROOT).as_posix(): n for f, n in sizes.items() if n > MOST_MODULES}
    assert not crowded


def test_a_module_name_means_one_thing() -> None:
    rooms = defaultdict(set)
    for path in MODULES:
        name = path.parent.name if path.name == "__init__.py" else path.stem
        if path.stem != path.parent.name:  # The module after which its folder is called.
            rooms[name].add(path.relative_to(ROOT).as_posix())
    ambiguous = {name: found for name, found in rooms.items() if len(found) > 1}
    assert ambiguous.keys() <= SAME_THING, ambiguous


def test_folders_say_what_they_are() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if path.name == "__init__.py" and not path.read_text("utf-8").startswith('"""')
    ]
    assert not silent


@pytest.mark.slow
def test_the_code_uses_the_words_of_its_field() -> None:
    found = defaultdict(set)
    for path in MODULES:
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            name = token.string.lower()
            # PyTorch and dataclasses have their own names that begin with "post".
            words = {name.strip("_")} if "post" in name else set(name.split("_"))
            if token.type == tokenize.NAME and words & PRIVATE:
                found[path.relative_to(ROOT).as_posix()].add(token.string)
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_tests_stand_where_their_modules_stand(kind: str) -> None:
    astray = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests" / kind).rglob("test_*.py"))
        if not (ROOT / "hpo" / path.parent.relative_to(ROOT / "tests" / kind)).is_dir()
    ]
    assert not astray


def test_unit_tests_are_called_after_their_modules() -> None:
    unnamed = []
    for path in sorted((ROOT / "tests" / "unit").glob("*/**/test_*.py")):
        folder = ROOT / "hpo" / path.parent.relative_to(ROOT / "tests" / "unit")
        stems = {module.stem for module in folder.rglob("*.py")} | {folder.name}
        name = path.stem.removeprefix("test_")
        if not any(name == stem or name.startswith(f"{stem}_") for stem in stems):
            unnamed.append(path.relative_to(ROOT).as_posix())
    assert not unnamed
