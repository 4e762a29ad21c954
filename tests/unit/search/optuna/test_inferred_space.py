"""Inferred space: what trials of an objective tell of its parameters, one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.search.base.history import row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.optuna.inferred_space import InferredSpace, rows_of
from hpo.search.optuna.objective_rows import at_present, of_objective
from hpo.search.optuna.planned_params import PLANNED

UNIT = FloatDistribution(0.0, 1.0)
KIND = CategoricalDistribution(["line", "net"])


def _trial(
    number: int,
    kinds: dict[str, tuple[Any, BaseDistribution]],
    n_reports: int = 1,
    state: TrialState = TrialState.RUNNING,
    plan: dict[str, Any] | None = None,
) -> FrozenTrial:
    trial = create_trial(
        state=state,
        params={name: value for name, (value, _) in kinds.items()},
        distributions={name: kind for name, (_, kind) in kinds.items()},
        value=0.7 if state is TrialState.COMPLETE else None,
        intermediate_values=dict.fromkeys(range(1, n_reports + 1), 0.5),
        system_attrs={} if plan is None else {PLANNED: plan},
    )
    trial.number = number
    return trial


def test_the_encoder_changes_when_a_trial_tells_something_new_only() -> None:
    space = InferredSpace()
    assert not space.update([_trial(0, {}, 0)])
    assert space.update([_trial(0, {"x": (0.1, UNIT)}, 0)])
    assert list(space.encoder.names) == ["x"]
    assert not space.update([_trial(0, {"x": (0.1, UNIT)}), _trial(1, {"x": (0.2, UNIT)})])
    assert space.update([_trial(1, {"x": (0.2, UNIT), "a": (0.2, UNIT)})])
    assert list(space.encoder.names) == ["a", "x"]
    wider = FloatDistribution(0.0, 2.0)
    assert space.update([_trial(2, {"x": (1.5, wider), "a": (0.2, UNIT)})])
    assert space.encoder.columns[1].distribution == wider


def test_paused_trials_tell_conditions_and_parents_come_first() -> None:
    space = InferredSpace()
    space.update(
        [
            _trial(0, {"z": ("line", KIND), "slope": (0.5, UNIT)}),
            _trial(1, {"z": ("net", KIND), "depth": (0.5, UNIT)}),
            # One that has not reported may not have asked for all.
            _trial(2, {"z": ("net", KIND)}, 0),
        ]
    )
    encoder = space.encoder
    assert encoder.names == ("z", "depth", "slope")
    row = encoder.snap(encoder.encode([{"z": "net", "depth": 0.1, "slope": 0.1}]))
    assert encoder.decode(row) == [{"z": "net", "depth": 0.1}]
    again = Encoder.of_table(encoder.to_table())
    assert again.to_table() == encoder.to_table()
    assert np.array_equal(again.snap(row + 0.0), encoder.snap(row), equal_nan=True)


def test_a_point_outside_of_the_space_is_none_of_its_points() -> None:
    encoder = Encoder.of_distributions({"x": UNIT, "y": UNIT})
    points = [{"x": 0.5, "y": 0.25}, {"x": 0.5, "y": 1.5}, {"x": 0.5}]
    assert np.isnan(rows_of(points, encoder)).all(axis=1).tolist() == [False, True, True]


def test_a_plan_counts_until_the_first_report_and_then_what_was_asked_for() -> None:
    encoder = Encoder.of_distributions({"x": UNIT, "y": UNIT})
    plan = {"x": 0.1, "y": 0.2}
    begun = _trial(0, {"x": (0.1, UNIT)}, 0, plan=plan)
    assert at_present(of_objective(row_of(begun), begun), encoder).params == plan
    asked = _trial(0, {"x": (0.1, UNIT), "y": (0.9, UNIT)}, plan=plan)
    assert at_present(of_objective(row_of(asked), asked), encoder).params == {"x": 0.1, "y": 0.9}
    outside = _trial(0, {"x": (0.1, UNIT)}, plan=plan)
    assert at_present(of_objective(row_of(outside), outside), encoder).params == {}


def test_a_trial_counts_by_its_reports_not_by_what_it_returned() -> None:
    reported = _trial(0, {"x": (0.1, UNIT)}, state=TrialState.COMPLETE)
    assert of_objective(row_of(reported), reported).final is None
    silent = _trial(0, {"x": (0.1, UNIT)}, 0, state=TrialState.COMPLETE)
    assert of_objective(row_of(silent), silent).final == 0.7
