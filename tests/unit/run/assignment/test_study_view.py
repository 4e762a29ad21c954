"""Study view: what a worker knows of a study's trials, after it was told what has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from hpo.run.assignment.study_view import StudyView
from hpo.search.base.curves import State
from hpo.store.optuna.trial_cache import Cursor
from tests.kits.study_changes import PARAMS, SPEC, changes, lease, trial


def test_a_running_trial_without_a_worker_is_paused() -> None:
    view = StudyView(SPEC)
    view.update(
        changes(
            *(trial(0, values={1: 0.5}), trial(1, values={1: 0.4}), trial(2, params={})),
            *(trial(3), trial(4, TrialState.COMPLETE, values={1: 0.3})),
            t0=(True, 1, 2),
            t1=(False, 1, 1),
            t3=(False, 0, 1),
        )
    )
    assert view.curves.states.tolist() == [
        State.RUNNING,
        State.PAUSED,
        State.RUNNING,
        State.PAUSED,
        State.COMPLETE,
    ]
    assert view.curves.targets.tolist() == [2, 1, 0, 1, 0]
    # Of the paused ones only the first has reported anything.
    assert view.paused_ids() == [101]


def test_the_view_asks_for_what_is_new_since_the_last_update() -> None:
    view = StudyView(SPEC)
    assert view.cursor is None
    view.update(changes(trial(0), n_read=7))
    assert view.cursor == Cursor(0, 7)


def test_a_trial_that_has_finished_does_not_change_any_more() -> None:
    view = StudyView(SPEC)
    view.update(changes(trial(0), trial(1), t0=(True, 0, 1), t1=(True, 0, 1)))
    assert view.unfinished([100, 101, 102]) == [0, 1]
    view.update(changes(trial(0, TrialState.FAIL)))
    assert (view.is_finished(0), view.is_finished(1)) == (True, False)
    assert view.unfinished([100, 101]) == [1]
    view.update(changes(trial(0)))
    assert view.curves.states.tolist() == [State.FAILED, State.RUNNING]


def test_a_value_counts_before_the_ledger_has_it() -> None:
    view = StudyView(SPEC)
    view.update(changes(trial(0, values={1: 0.5}), t0=(True, 1, 2)))
    view.note_value(lease(0, 2), 0.25)
    # The study minimises, and larger is better in curves.
    assert np.array_equal(view.curves.values, [[-0.5, -0.25]])
    assert view.curves.states.tolist() == [State.RUNNING]


@pytest.mark.parametrize(
    ("params", "expected"),
    [(PARAMS, {**PARAMS, "width": 8}), ({"learning_rate": 0.5}, {"learning_rate": 0.5})],
)
def test_params_include_the_fixed_ones_once_all_are_drawn(
    params: dict[str, Any], expected: dict[str, Any]
) -> None:
    view = StudyView(SPEC)
    view.update(changes(trial(0, params=params)))
    assert view.params(0) == expected
    assert view.trial_id(0) == 100
