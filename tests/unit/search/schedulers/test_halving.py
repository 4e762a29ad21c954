"""Halving that pauses: who goes on, and where the rungs are."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from hpo.search.base.curves import Curves, State
from hpo.search.base.decisions import Ask
from hpo.search.base.derived_seeds import uniforms
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.base.rungs import agreement, ladder, lowest_rung, next_rung, usual_rung
from hpo.search.schedulers.registry import make_scheduler
from tests.kits import search_kit as kit

ASHA = {"name": "asha", "min_resource": 3}
STUDY = kit.spec(pruner=ASHA, budget={"trials": 40, "epochs": 27})


def _paused(values: list[float], epoch: int = 3) -> Curves:
    """Returns curves of trials that have paused after an epoch with these values."""
    history = History(Encoder.of_space(STUDY.space), 27, maximize=True)
    for number, value in enumerate(values):
        params = {"learning_rate": 0.01, "width": 16, "optimizer": "adam"}
        history.put(ObservedTrial(number, State.PAUSED, params, {epoch: value}, epoch))
    return history.curves()


def test_the_best_third_goes_on_to_the_next_rung() -> None:
    plan = make_scheduler(STUDY).plan(_paused([0.1, 0.9, 0.2, 0.5, 0.8, 0.3]), Ask(4))
    assert [(one.number, one.epoch_stop) for one in plan.advances] == [(1, 9), (4, 9)]
    assert [start.number for start in plan.starts] == [6, 7]
    assert {start.epoch_stop for start in plan.starts} == {3}


def test_a_trial_that_went_on_is_not_sent_again() -> None:
    curves = _paused([0.1, 0.9, 0.2])
    scheduler = make_scheduler(STUDY)
    assert [one.number for one in scheduler.plan(curves, Ask(1)).advances] == [1]
    history = History(Encoder.of_space(STUDY.space), 27, maximize=True)
    for number, value in enumerate([0.1, 0.9, 0.2]):
        state = State.RUNNING if number == 1 else State.PAUSED
        stop = 9 if number == 1 else 3
        history.put(ObservedTrial(number, state, {"width": 16}, {3: value}, stop))
    assert not scheduler.plan(history.curves(), Ask(1)).advances


def test_higher_rungs_are_served_first() -> None:
    history = History(Encoder.of_space(STUDY.space), 27, maximize=True)
    for number in range(9):
        values = {3: 0.1 * number, 9: 0.1 * number} if number >= 6 else {3: 0.1 * number}
        stop = max(values)
        history.put(ObservedTrial(number, State.PAUSED, {"width": 16}, values, stop))
    plan = make_scheduler(STUDY).plan(history.curves(), Ask(1))
    assert [(one.number, one.epoch_stop) for one in plan.advances] == [(8, 27)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb"])
def test_a_study_finds_the_peak_and_ends(name: str) -> None:
    study = kit.spec(pruner=name, budget={"trials": 40, "epochs": 27})
    run = kit.Run(study, n_places=4).to_the_end()
    assert len(run.states) == 40
    assert run.plans[-1].finished
    assert abs(math.log10(run.best()["learning_rate"] / 0.01)) < 0.5
    assert run.n_epochs < 40 * 27 * 0.7


def test_brackets_begin_at_different_rungs_and_early_ones_more_often() -> None:
    study = kit.spec(pruner={"name": "hyperband", "min_resource": 3})
    plan = make_scheduler(study).plan(_paused([]), Ask(300))
    stops = Counter(start.epoch_stop for start in plan.starts)
    assert set(stops) == {3, 9, 27}
    assert stops[3] > stops[9] > stops[27]


def test_ladders_end_at_the_horizon() -> None:
    assert ladder(3, 27, 3.0) == (3, 9, 27)
    assert ladder(6, 52, 2.1) == (6, 12, 25, 52)
    assert ladder(5, 5, 3.0) == (5,)
    assert ladder(1, 2, 3.0) == (1, 2)


def test_a_step_from_between_two_rungs_is_not_too_short() -> None:
    assert next_rung((3, 9, 27), 8) == 27
    assert next_rung((3, 9, 27), 4) == 9
    assert next_rung((3, 9, 27), 26) == 27


def _ranked(flip_before: int) -> Curves:
    """Returns 20 curves whose ranking turns round at an epoch."""
    history = History(Encoder.of_space(STUDY.space), 27, maximize=True)
    for number in range(20):
        values = {
            epoch: float(-number if epoch < flip_before else number) for epoch in range(1, 28)
        }
        history.put(ObservedTrial(number, State.COMPLETE, {"width": 16}, values, 27, 1.0))
    return history.curves()


def test_the_lowest_rung_comes_down_where_early_epochs_tell_the_same() -> None:
    assert lowest_rung(_ranked(flip_before=0)) == 1
    assert lowest_rung(_ranked(flip_before=2)) == 3


def test_the_lowest_rung_goes_up_where_early_epochs_mislead() -> None:
    assert lowest_rung(_ranked(flip_before=5)) == 6


def test_without_curves_the_lowest_rung_is_a_ninth() -> None:
    assert lowest_rung(_paused([])) == 3
    assert np.isclose(agreement(_paused([]), 1, 3), 0.5)


def test_uniform_numbers_are_even_and_unrelated() -> None:
    drawn = uniforms(3, np.arange(20_000))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert np.allclose(np.histogram(drawn, 10)[0], 2_000, rtol=0.1)
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
    assert not np.isin(uniforms(4, np.arange(100)), drawn).any()
    assert uniforms(3, [7])[0] == drawn[7]


@pytest.mark.parametrize(
    ("horizon", "blind", "modelled"), [(1, 1, 1), (9, 1, 1), (27, 3, 3), (52, 6, 3), (180, 20, 10)]
)
def test_a_model_may_look_earlier_but_not_in_the_first_epochs(
    horizon: int, blind: int, modelled: int
) -> None:
    assert usual_rung(horizon) == blind
    assert usual_rung(horizon, is_modelled=True) == modelled
