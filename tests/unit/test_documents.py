"""The pages beside README: the glossary has the project's words, records have their parts."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from hpo.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
DECISIONS = ROOT / "docs/decisions"
RECORDS = sorted(DECISIONS.glob("0*.md"))

WORDS = """
    acquisition function, artifact, assignment, attempt, bracket, budget, checkpoint, claim,
    decision log, digest, engine, event, executor, fidelity, fold, freeze-thaw, fused, garbage
    collection, heartbeat, horizon, incumbent, initial design, intermediate value, lane,
    lease, ledger, manager, metric, normalised regret, objective, outbox, outlook, parameter,
    params, pause, portfolio, prefork pool, promote, pruner, reap, reduction factor, renew,
    resource, resume, rung, sampler, scheduler, search space, settle, signature, solo, spec, spool,
    stack, structure, study, successive halving, supervisor, surrogate, suspend, task, token,
    trial, warm start, watchdog, worker
"""
"""The words of README, docs and messages that have a meaning of their own in this project."""


def entries() -> dict[str, list[str]]:
    """Returns the words that each section of the glossary explains, in its order."""
    sections = [part.partition("\n") for part in GLOSSARY.split("\n## ")[1:]]
    return {title: re.findall(r"^- (\*\*.*?\*\*): ", body, re.M) for title, _, body in sections}


def words_of(entry: str) -> list[str]:
    return [word.lower() for word in re.findall(r"\*\*(.+?)\*\*", entry)]


@pytest.mark.parametrize("word", [" ".join(word.split()) for word in WORDS.split(",")])
def test_the_glossary_explains(word: str) -> None:
    found = [w for section in entries().values() for entry in section for w in words_of(entry)]
    assert found.count(word) == 1


@pytest.mark.parametrize("section", [title for title in entries() if title != "The study"])
def test_a_section_of_the_glossary_is_in_the_order_of_the_alphabet(section: str) -> None:
    first = [words_of(entry)[0] for entry in entries()[section]]
    assert len(first) > 5
    assert [pair for pair in pairwise(first) if pair[0] > pair[1]] == []


def test_the_glossary_names_commands_that_exist() -> None:
    named = set(re.findall(r"`hpo ([a-z]+)", GLOSSARY))
    assert len(named) > 5
    assert named - set(COMMANDS) == set()


def title_of(record: Path) -> str:
    return record.read_text(encoding="utf-8").partition("\n")[0]


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    assert len(numbers) >= 8
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_is_short_and_has_its_parts(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert re.match(
        rf"# {record.name[:4]}: \S.*\n\nStatus: (accepted|superseded by \d{{4}})\n", text
    )
    assert re.findall(r"^## (.*)", text, re.M) == ["Context", "Decision", "Consequences"]
    assert len(text.split()) < 250


def test_the_index_of_decision_records_is_complete() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d+)\]\((.*?)\) \| (.*?) \| (.*?) \|$", index, re.M)
    listed = [(file, f"# {number}: {title}", status) for number, file, title, status in rows]
    found = [
        (path.name, title_of(path), path.read_text().split("\n")[2].removeprefix("Status: "))
        for path in RECORDS
    ]
    assert listed == found


@pytest.mark.parametrize("page", [*DECISIONS.glob("*.md")], ids=lambda path: path.stem)
def test_links_of_decision_records_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_example_is_listed_and_says_how_to_run_it() -> None:
    index = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "examples").glob("*.py"))
    listed = re.findall(r"^\| \[(.*?)\]", index, re.M)
    assert sorted(listed) == [path.name for path in files]
    for path in files:
        head = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert re.search(rf"^    python {re.escape(path.name)}( \w+)?$", head, re.M)


def test_contributing_has_a_line_for_each_target_of_make() -> None:
    targets = re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.M)
    assert len(targets) > 5
    assert [
        name
        for name in targets
        if not re.search(rf"^make {re.escape(name)} +\S", CONTRIBUTING, re.M)
    ] == []


def test_contributing_has_a_line_for_each_package() -> None:
    tree = CONTRIBUTING.partition("```\nhpo/\n")[2].partition("\nalembic/")[0]
    folders: list[str] = []
    listed = set()
    for indent, name in re.findall(r"^( +)(\w+)/ +\S", tree, re.M):
        folders = [*folders[: len(indent) // 2 - 1], name]
        listed.add("/".join(folders))
    hpo = ROOT / "hpo"
    packages = {path.parent.relative_to(hpo).as_posix() for path in hpo.rglob("__init__.py")}
    assert listed == packages - {"."}


def test_every_path_in_the_architecture_exists() -> None:
    paths = set(re.findall(r"`((?:hpo|benchmarks)/[\w./]+)`", ARCHITECTURE))
    assert len(paths) > 20
    assert not sorted(path for path in paths if not (ROOT / path).exists())


def test_a_turn_of_a_worker_is_read_in_twenty_files_that_have_what_it_names() -> None:
    way = re.findall(r"^\d+\. `([\w./]+)`: (.*?)(?=^\d+\.|^$)", ARCHITECTURE, re.M | re.S)
    assert 15 <= len(way) <= 20
    for path, says in way:
        code = (ROOT / path).read_text("utf-8")
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", says):
            assert name in ("StudySpec",) or re.search(rf"(def|class) {name}\b", code), (path, name)


def test_the_shapes_of_a_trial_are_classes() -> None:
    table = ARCHITECTURE.split("## The shapes of a trial")[1].split("## Ideas")[0]
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "hpo").rglob("*.py"))
    for name in set(re.findall(r"`([A-Z]\w+)`", table)) - {"FrozenTrial"}:
        assert re.search(rf"^class {name}\b", code, re.M), name
