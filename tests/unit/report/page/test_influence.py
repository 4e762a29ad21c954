"""The influence of parameters: found where it is, and not claimed where it is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hpo.report.page.comparable_trials import ComparableTrials
from hpo.report.page.influence import Influence, influence_of
from hpo.report.page.influence_sentences import mattered, regions

Params = Mapping[str, Any]


def draw(
    n: int, value: Callable[[Params, random.Random], float], seed: int = 0
) -> ComparableTrials:
    """Returns trials of random search over four parameters."""
    rng = random.Random(seed)
    params = [
        {
            "lr": 10 ** rng.uniform(-4, 0),
            "depth": rng.randint(1, 6),
            "optimizer": rng.choice(["sgd", "adam"]),
            "nesterov": rng.choice([True, False]),
        }
        for _ in range(n)
    ]
    values = tuple(value(each, rng) for each in params)
    return ComparableTrials(tuple(range(n)), values, tuple(params), "loss", "minimize", None, n)


def test_what_decides_the_values_is_found_in_its_order() -> None:
    trials = draw(
        80, lambda p, rng: abs(p["depth"] - 2) + 2 * (p["optimizer"] == "sgd") + rng.random()
    )
    found = influence_of([trials])
    assert {param.name for param in found.visible} == {"depth", "optimizer"}
    assert found.explained > 0.5
    assert sum(param.share for param in found.params) == pytest.approx(1.0)
    text = mattered(found)
    assert text.startswith(("depth mattered most", "optimizer mattered most"))
    assert "Of the other 2 parameters, no influence is visible" in text
    lines = regions(found)
    assert any(line.startswith("optimizer: adam in") for line in lines)
    assert any(line.startswith("depth: ") and "1 to 6 was tried" in line for line in lines)


def test_noise_is_said_to_be_noise() -> None:
    claims = [
        influence_of([draw(n, lambda p, rng: rng.random(), seed)]).visible
        for seed in range(10)
        for n in (25, 60)
    ]
    assert sum(map(bool, claims)) <= 1
    text = mattered(influence_of([draw(40, lambda p, rng: rng.random())]))
    assert text == (
        "It cannot be told which parameters mattered: forecasts from the parameters are no better "
        "than chance for these 40 trials."
    )


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        (draw(12, lambda p, rng: p["lr"]), "only 12 trials have comparable values; 20 are needed"),
        (draw(1, lambda p, rng: p["lr"]), "only 1 trial has comparable values; 20 are needed"),
        (draw(0, lambda p, rng: p["lr"]), "no trials have comparable values; 20 are needed"),
        (draw(30, lambda p, rng: 1.0), "all 30 trials have the same value"),
    ],
)
def test_too_little_to_tell(trials: ComparableTrials, why: str) -> None:
    assert (
        mattered(influence_of([trials])) == f"It cannot be told which parameters mattered: {why}."
    )


def test_a_parameter_that_some_trials_lack_and_choices_that_are_lists_count() -> None:
    trials = draw(60, lambda p, rng: p["depth"] + 0.1 * rng.random())
    params = tuple(
        {**each, "sizes": [each["depth"]], **({"beta": 0.5} if i % 2 else {})}
        for i, each in enumerate(trials.params)
    )
    found: Influence = influence_of([ComparableTrials(**{**vars(trials), "params": params})])
    assert {param.name for param in found.params} >= {"sizes", "beta", "depth"}
    assert found.visible
