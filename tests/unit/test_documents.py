"""The pages beside README: the glossary has the project's words, records have their parts."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from hpo.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")

WORDS = """
    acquisition function, artifact, assignment, attempt, bracket, budget, checkpoint, claim,
    decision log, digest, engine, event, executor, fidelity, fold, freeze-thaw, fused, garbage
    collection, heartbeat, horizon, incumbent, initial design, intermediate value, lane,
    lease, ledger, manager, metric, normalised regret, objective, outlook, parameter, params,
    portfolio, prefork pool, promote, pruner, reap, reduction factor, renew, resource, resume,
    rung, sampler, scheduler, search space, settle, signature, solo, spec, spool, stack,
    structure, study, successive halving, supervisor, surrogate, suspend, task, token, trial,
    warm start, watchdog, worker
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
