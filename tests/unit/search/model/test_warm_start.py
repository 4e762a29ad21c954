"""First points from studies that have been, and what protects from misleading ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpo.search.base.curves import State
from hpo.search.base.history import ObservedTrial
from hpo.search.model.portfolio import Portfolio
from hpo.search.model.warm_start import Source, from_json, learn, similarity, to_json
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.study_spec import StudySpec
from tests.kits import search_kit as kit

BASE = Portfolio(
    "base", {"learning_rate": ["learning_rate", "lr"]}, [{"learning_rate": 0.1, "width": 64}]
)


def _source(name: str, peak: float, metric: str = "val_accuracy", **space: Any) -> Source:
    """Returns a finished study whose best learning rate is the peak."""
    table = {"lr": {"low": 1e-5, "high": 1.0, "log": True}, "width": {"choices": [16, 32]}, **space}
    spec = kit.spec(name=name, space=table, metric=metric)
    rows = []
    for number in range(30):
        rate = 10.0 ** (-5.0 + number / 6.0)
        off = abs(math.log10(rate / peak))
        value = off if spec.directions[0] == "minimize" else 1.0 - 0.1 * off
        params = {"lr": rate, "width": 16}
        rows.append(ObservedTrial(number, State.COMPLETE, params, {27: value}, 27, value))
    return Source(spec, rows)


def test_the_best_points_of_a_similar_study_come_first() -> None:
    learnt = learn(kit.spec(), [_source("old", 1e-3)], BASE)
    assert learnt.points[0]["learning_rate"] == pytest.approx(1e-3, rel=0.3)
    assert learnt.points[0]["width"] == 16
    assert list(learnt.points[-1:]) == list(BASE.points)
    assert "old" in learnt.version


def test_losses_are_ranked_the_other_way() -> None:
    learnt = learn(kit.spec(), [_source("old", 1e-3, metric="val_loss")], BASE)
    assert learnt.points[0]["learning_rate"] == pytest.approx(1e-3, rel=0.3)


def test_points_of_one_study_lie_apart() -> None:
    learnt = learn(kit.spec(), [_source("old", 1e-3)], BASE)
    rates = [math.log10(point["learning_rate"]) for point in learnt.points[:-1]]
    assert len(rates) == 3
    assert min(abs(a - b) for a in rates for b in rates if a != b) > 0.9


def test_several_studies_take_turns_and_have_a_limit() -> None:
    sources = [_source(f"old{i}", 10.0**-i) for i in range(1, 5)]
    learnt = learn(kit.spec(), sources, BASE)
    assert len(learnt.points) == 6 + 1
    rates = [point["learning_rate"] for point in learnt.points[:4]]
    assert rates == pytest.approx([0.1, 0.01, 0.001, 0.0001], rel=0.3)


def test_studies_that_are_not_similar_or_too_short_teach_nothing() -> None:
    other = Source(kit.spec(space={"x": {"low": 0, "high": 5}}), _source("old", 0.1).rows)
    short = Source(_source("old", 0.1).spec, _source("old", 0.1).rows[:5])
    several: StudySpec = kit.spec(metric=["val_loss", "latency"], direction=["minimize"] * 2)
    assert learn(kit.spec(), [other, short, Source(several, other.rows)], BASE) is BASE


def test_similarity_is_the_share_of_parameters_in_common() -> None:
    space, other = kit.spec().space, _source("old", 0.1).spec.space
    assert similarity(space, other, BASE) == 0.5
    assert similarity(other, space, BASE) == 1.0


def test_it_is_kept_as_text() -> None:
    learnt = learn(kit.spec(), [_source("old", 1e-3)], BASE)
    assert from_json(to_json(learnt)) == learnt


@pytest.mark.slow
def test_a_misleading_source_costs_a_few_short_trainings() -> None:
    study = kit.spec(budget={"trials": 30, "epochs": 27})
    run = kit.Run(study)
    misleading = learn(study, [_source("wrong", 1.0)], Portfolio("", BASE.names, ()))
    run.scheduler = make_scheduler(study, portfolio=misleading)
    run.to_the_end()
    assert abs(math.log10(run.best()["learning_rate"] / 0.01)) < 0.3
    assert abs(math.log10(run.params[0]["learning_rate"])) < 0.3
    assert run.epochs[0] < 27
