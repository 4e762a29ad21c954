"""What more trials would bring, and the end of patience."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.search.base.curves import State
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.forecast import forecast, is_out_of_patience
from hpo.search.model.training_set import OutputWarping
from hpo.spec.study_spec import StudySpec
from tests.kits import search_kit as kit

STUDY = kit.spec(space={"x": {"low": 0.0, "high": 1.0}}, budget={"trials": 99, "epochs": 4})


def _history(xs: list[float], study: StudySpec = STUDY, sign: float = 1.0) -> History:
    history = History(Encoder.of_space(study.space), 4, study.directions[0] == "maximize")
    for number, x in enumerate(xs):
        height = sign * (1.0 - (x - 0.5) ** 2)
        values = {epoch: height * (0.6 + 0.1 * epoch) for epoch in range(1, 5)}
        history.put(ObservedTrial(number, State.COMPLETE, {"x": x}, values, 4, values[4]))
    return history


def test_before_the_peak_is_found_more_is_expected_than_after() -> None:
    early = forecast(STUDY, _history([0.0, 0.1, 0.15, 0.95, 1.0]).curves())
    late = forecast(STUDY, _history([i / 40 for i in range(41)]).curves())
    assert early is not None
    assert late is not None
    assert early.gain > 0.005
    assert early.gain > 5.0 * late.gain
    assert early.chance > 0.5
    assert early.best == pytest.approx(1.0 - 0.35**2)


def test_it_is_told_in_the_studys_own_sign() -> None:
    losses = kit.spec(metric="val_loss", space=STUDY.space, budget=STUDY.budget)
    found = forecast(losses, _history([0.1, 0.2, 0.8, 0.9], losses, sign=-1.0).curves())
    assert found is not None
    assert found.best < 0.0
    assert "a chance of" in str(found)


def test_without_values_nothing_is_expected() -> None:
    assert forecast(STUDY, _history([]).curves()) is None


def test_patience_counts_the_trials_since_the_best() -> None:
    curves = _history([0.1, 0.5, 0.2, 0.3, 0.9]).curves()
    assert is_out_of_patience(curves, 3)
    assert not is_out_of_patience(curves, 4)
    assert not is_out_of_patience(_history([]).curves(), 1)


def test_a_scale_takes_values_there_and_back() -> None:
    values = np.array([0.1, 0.5, 0.9, 0.95, 0.99, 1.0])
    warping = OutputWarping.fit(values, 1.0)
    z = warping.transform(values)
    assert np.allclose(warping.untransform(z), values)
    assert np.allclose([z.mean(), z.std()], [0.0, 1.0])
    assert (z[-1] - z[-2]) / 0.01 > 5.0 * (z[1] - z[0]) / 0.4
    assert warping.untransform(z[-1:] + 0.5)[0] > 1.0
    assert warping.transform(np.array([-np.inf]))[0] == z[0]
