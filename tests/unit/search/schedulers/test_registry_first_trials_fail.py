"""A study whose first trials all fail, or are cancelled, has points left to try."""

from __future__ import annotations

import pytest

from hpo import StudySpec
from hpo.search.base.curves import State
from hpo.search.base.decisions import Ask
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.schedulers.registry import make_scheduler


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_space_is_not_exhausted_by_failures(seed: int) -> None:
    spec = StudySpec(
        name="s",
        task="digits-mlp",
        metric="val_accuracy",
        budget={"trials": 60, "epochs": 4},
        space={
            "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
            "width": {"choices": [16, 32]},
        },
        seed=seed,
    )
    scheduler = make_scheduler(spec)
    history = History(Encoder.of_space(spec.space), 4, True)
    seen = set()
    for number in range(40):
        # A worker's stack has a structure, and wants another lane of it.
        ask = Ask(n=1, n_new=20, structural=("width",), structure={"width": 32})
        plan = scheduler.plan(history.curves(), ask)
        assert not plan.finished
        (start,) = plan.starts
        assert start.params is not None
        seen.add(start.params["learning_rate"])
        history.put(ObservedTrial(number, State.FAILED, start.params, {}, epoch_stop=1))
    assert len(seen) == 40
