"""Entries of a study file as ``--set`` takes them."""

from __future__ import annotations

import pytest

from hpo.errors import SpecError
from hpo.spec import toml
from hpo.spec.dotted_entries import read_entries

STUDY = """
name = "a"
task = "digits-mlp"
metric = "val_accuracy"
direction = "maximize"
sampler = "random"
budget = { trials = 3 }
space = { learning_rate = { low = 1e-4, high = 1.0, log = true }, depth = 2 }
"""


def test_entries_are_nested_tables_with_values_of_toml() -> None:
    assert read_entries(
        [
            "space.learning_rate.high=0.1",
            "space.width = {choices = [32, 64]}",
            "seed=7",
            "task_options.data=a b=c.csv",
            'task_options."x.y"=true',
            "name=2026-01-31",
            "seed=8",
        ]
    ) == {
        "space": {"learning_rate": {"high": 0.1}, "width": {"choices": [32, 64]}},
        "seed": 8,
        "task_options": {"data": "a b=c.csv", "x.y": True},
        "name": "2026-01-31",
    }


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["seed"], "must be KEY=VALUE, such as space.learning_rate.high=0.1"),
        (["=3"], "must be KEY=VALUE"),
        (["a b=3"], "must be KEY=VALUE"),
        (["a\nb=3"], "must be KEY=VALUE"),
        (["seed="], "has no value"),
        (["seed=1", "seed.x=2"], "is below a key that another entry gives a value"),
    ],
)
def test_what_is_no_entry_is_refused(entries: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read_entries(entries)


def test_an_entry_changes_one_bound_and_leaves_the_rest() -> None:
    changes = read_entries(["space.learning_rate.high=0.1", "sampler.name=tpe", "space.depth=3"])
    parsed = toml.parse(STUDY, "a.toml", overrides=changes)
    assert parsed.spec is not None
    assert parsed.spec.space.to_table() == {
        "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "depth": 3,
    }
    assert parsed.spec.sampler.name == "tpe"


def test_a_bound_of_a_parameter_that_is_not_there_names_the_nearest() -> None:
    changes = read_entries(["space.learning_rat.high=0.1", "space.batches.low=1"])
    found = toml.parse(STUDY, "a.toml", overrides=changes).problems
    assert {(problem.key, problem.message) for problem in found} == {
        ("space.learning_rat", "the study has no such parameter; did you mean learning_rate?"),
        ("space.batches", "the study has no such parameter"),
    }
    whole = read_entries(["space.width.low=1", "space.width.high=2"])
    assert not toml.parse(STUDY, "a.toml", overrides=whole).problems
