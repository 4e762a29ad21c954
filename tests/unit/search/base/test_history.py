"""What a worker knows of its study, from rows and reports in any order."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from hpo.search.base.curves import State
from hpo.search.base.history import History, ObservedTrial, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.base.trial_status import is_ahead, is_free, is_pending
from hpo.search.optuna.study_curves import (
    common_search_space,
    epoch_before,
    finished_curves,
    reported_curves,
)
from tests.kits import search_kit as kit

ENCODER = Encoder.of_space(kit.spec().space)
PARAMS = {"learning_rate": 0.01, "width": 32, "optimizer": "adam"}


def _history(maximize: bool = True) -> History:
    return History(ENCODER, 9, maximize)


def test_a_snapshot_stays_as_it_is() -> None:
    history = _history()
    history.put(ObservedTrial(0, State.RUNNING, PARAMS, {1: 0.5}, 3))
    before = history.curves()
    history.report(0, 2, 0.6)
    history.put(ObservedTrial(0, State.PAUSED, PARAMS, {}, 2))
    assert before.epochs.tolist() == [1]
    assert before.states.tolist() == [State.RUNNING]
    after = history.curves()
    assert after.epochs.tolist() == [2]
    assert after.last.tolist() == [0.6]


def test_what_was_reported_first_stays() -> None:
    history = _history()
    history.put(ObservedTrial(0, State.RUNNING, PARAMS, {1: 0.5}))
    history.report(0, 1, 0.9)
    assert history.curves().values[0].tolist() == [0.5]


def test_numbers_that_are_not_known_yet_are_left_out() -> None:
    history = _history()
    for number in (5, 200):
        history.put(ObservedTrial(number, State.RUNNING, PARAMS, {}))
    curves = history.curves()
    assert curves.numbers.tolist() == [5, 200]
    assert curves.next_number == 201
    assert curves.rows_of([200]).tolist() == [1]


def test_losses_stand_with_the_other_sign() -> None:
    history = _history(maximize=False)
    history.put(ObservedTrial(0, State.COMPLETE, PARAMS, {1: 3.0, 2: 1.0, 3: 2.0}, 3, final=1.0))
    curves = history.curves()
    assert curves.best.tolist() == [-1.0]
    assert curves.last.tolist() == [-2.0]


def test_values_that_are_not_finite_tell_that_a_trial_diverged() -> None:
    history = _history()
    history.put(ObservedTrial(0, State.RUNNING, PARAMS, {1: 0.5, 2: math.nan}))
    history.put(ObservedTrial(1, State.RUNNING, PARAMS, {1: math.inf}))
    history.put(ObservedTrial(2, State.RUNNING, PARAMS, {1: 0.5}))
    curves = history.curves()
    assert curves.diverged.tolist() == [True, True, False]
    assert curves.best.tolist()[0] == 0.5
    assert math.isnan(curves.best[1])


def test_a_trial_without_params_is_told_apart_from_one_with() -> None:
    history = _history()
    history.put(ObservedTrial(0, State.RUNNING, {}, {}))
    history.put(ObservedTrial(1, State.RUNNING, PARAMS, {}))
    assert history.curves().has_point.tolist() == [False, True]
    history.put(ObservedTrial(0, State.RUNNING, PARAMS, {}))
    assert history.curves().has_point.tolist() == [True, True]


def test_a_trial_at_its_target_is_free_and_one_before_it_pending() -> None:
    history = _history()
    history.put(ObservedTrial(0, State.PAUSED, PARAMS, {1: 0.1, 2: 0.1, 3: 0.1}, 3))
    history.put(ObservedTrial(1, State.PAUSED, PARAMS, {1: 0.1}, 3))
    history.put(ObservedTrial(2, State.RUNNING, PARAMS, {}, 3))
    history.put(ObservedTrial(3, State.WAITING, PARAMS, {}))
    history.put(ObservedTrial(4, State.COMPLETE, PARAMS, {1: 0.1}, 9, 0.1))
    curves = history.curves()
    assert is_free(curves).tolist() == [True, False, False, False, False]
    assert is_pending(curves).tolist() == [False, True, True, True, False]
    assert is_free(curves.with_paused([2])).tolist() == [True, False, False, False, False]


def test_the_best_third_at_an_epoch_is_ahead() -> None:
    history = _history()
    for number in range(6):
        history.put(ObservedTrial(number, State.RUNNING, PARAMS, {1: 0.1 * number}))
    ahead = is_ahead(history.curves(), np.arange(6))
    assert ahead.tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("state", "is_leased", "expected"),
    [
        (TrialState.RUNNING, True, State.RUNNING),
        (TrialState.RUNNING, False, State.PAUSED),
        (TrialState.PRUNED, False, State.PRUNED),
        (TrialState.FAIL, False, State.FAILED),
    ],
)
def test_optunas_trials_become_rows(state: TrialState, is_leased: bool, expected: State) -> None:
    trial = create_trial(state=state, intermediate_values={1: 0.5, 2: 0.6})
    row = row_of(trial, is_leased=is_leased, epoch_stop=7)
    assert (row.state, row.epoch_stop, dict(row.values)) == (expected, 7, {1: 0.5, 2: 0.6})


def test_steps_of_any_kind_become_epochs_in_their_order() -> None:
    study = optuna.create_study(direction="minimize")
    kinds: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}
    for steps in ([0, 100, 250], [100, 400]):
        study.add_trial(
            create_trial(
                params={"x": 0.5},
                distributions=kinds,
                value=1.0,
                intermediate_values={step: float(step) for step in steps},
            )
        )
    encoder = Encoder.of_distributions(common_search_space(study))
    curves = reported_curves(study.get_trials(), encoder, sign=-1.0)
    assert curves.horizon == 4
    # What a trial reported last stands until its next report.
    assert curves.at(2).tolist() == [-100.0, -100.0]
    assert curves.at(3).tolist() == [-250.0, -100.0]
    assert curves.epochs.tolist() == [3, 4]
    assert epoch_before(study.trials[1], np.array([0, 100, 250, 400])) == 2


def test_points_outside_of_the_present_ranges_are_not_looked_at() -> None:
    study = optuna.create_study()
    for high in (10.0, 1.0):
        kind = optuna.distributions.FloatDistribution(0.0, high)
        study.add_trial(
            create_trial(params={"x": 0.7 * high}, distributions={"x": kind}, value=1.0)
        )
    encoder = Encoder.of_distributions({"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
    curves = finished_curves(study.get_trials(), encoder, sign=-1.0)
    assert curves.has_point.tolist() == [False, True]
