"""A study with nothing to search: a baseline, or one setting under several seeds."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.search.base.auto import choose
from hpo.search.base.curves import State
from hpo.search.base.decisions import Ask
from hpo.search.optuna.study_search import Search
from hpo.search.schedulers.registry import SCHEDULERS, make_scheduler
from tests.kits import search_kit as kit
from tests.kits.crew import Crew

FIXED: list[dict[str, Any]] = [
    {"learning_rate": 0.01, "depth": 1},
    {"learning_rate": {"choices": [0.01]}, "depth": {"choices": [2]}},
]


def _curve(params: Any, epoch: int) -> float:
    return 1.0 - 1.0 / (1.0 + epoch)


@pytest.mark.slow
@pytest.mark.parametrize("space", FIXED)
@pytest.mark.parametrize("pruner", ["auto", *SCHEDULERS])
def test_as_many_trials_run_as_the_budget_has(space: dict[str, Any], pruner: str) -> None:
    options = {"lower": 0.1} if pruner == "threshold" else {}
    spec = kit.spec(
        space=space, pruner={"name": pruner, **options}, budget={"trials": 6, "epochs": 27}
    )
    run = kit.Run(spec, _curve, n_places=2)
    if choose(spec).sampler != "auto":
        # The workers draw what there is to draw; see Crew below.
        starts = run.scheduler.plan(run.history.curves(), Ask(6, 6)).starts
        assert [start.params for start in starts] == [None] * 6
        return
    for _ in range(400):
        if run.fill().finished and not run.running:
            break
        run.train()
    assert len(run.states) == 6
    assert State.COMPLETE in run.states.values()


@pytest.mark.parametrize("sampler", ["auto", "random", "qmc", "tpe", "gp", "cmaes"])
def test_every_sampler_draws_nothing(sampler: str) -> None:
    crew = Crew(kit.spec(space=FIXED[0], sampler=sampler))
    search: Search = crew._workers[0]
    ids = [crew._storage.create_new_trial(crew._study_id) for _ in range(3)]
    assert search.ask(ids) == [{"learning_rate": 0.01, "depth": 1}] * 3


def test_the_default_trains_each_trial_to_the_end_and_says_so() -> None:
    spec = kit.spec(space=FIXED[0])
    assert make_scheduler(spec).name == "none"
    assert choose(spec).reason == "nothing is searched: every trial is trained to the end"
