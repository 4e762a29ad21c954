from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpo.spec.space.params import Params
from hpo.train.recipe.hyperparameters import complete
from hpo.train.recipe.schedules import SCHEDULES, factor

params = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(list(SCHEDULES)),
        "warmup_epochs": st.integers(0, 30),
        "step_size": st.integers(1, 30),
        "gamma": st.floats(0.01, 1.0),
    }
).map(lambda values: complete(Params(values), {}))


@given(params, st.integers(1, 100), st.floats(0, 200))
def test_factors_are_shares(params: Params, horizon: int, epoch: float) -> None:
    assert 0 <= factor(epoch, horizon, params) <= 1


@given(params, st.integers(1, 60))
def test_factors_rise_to_one_and_fall_from_there(params: Params, horizon: int) -> None:
    warmup = min(params.warmup_epochs, horizon)
    curve = [factor(epoch, horizon, params) for epoch in range(horizon)]
    assert curve[:warmup] == sorted(curve[:warmup])
    assert curve[warmup:] == sorted(curve[warmup:], reverse=True)
    assert warmup == horizon or curve[warmup] == 1.0
    assert min(curve) > 0 or params.schedule in ("step", "exponential")
