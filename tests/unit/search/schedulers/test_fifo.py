"""FIFO: each trial is assigned to the last epoch."""

from __future__ import annotations

import pytest

from hpo.search.base.curves import State
from hpo.search.base.decisions import Ask
from hpo.search.base.history import ObservedTrial
from hpo.search.schedulers.registry import SCHEDULERS
from hpo.spec import methods
from tests.kits import search_kit as kit


def test_new_trials_go_to_the_end_and_the_budget_is_kept() -> None:
    run = kit.Run(kit.spec(pruner="median"))
    plan = run.scheduler.plan(run.history.curves(), Ask(4, n_new=3))
    assert [start.number for start in plan.starts] == [0, 1, 2]
    assert {start.epoch_stop for start in plan.starts} == {27}
    assert not plan.finished


def test_it_is_over_when_nothing_runs_and_nothing_may_begin() -> None:
    run = kit.Run(kit.spec(pruner="none"))
    params = {"learning_rate": 0.1, "width": 16, "optimizer": "adam"}
    run.history.put(ObservedTrial(0, State.RUNNING, params, {1: 0.1}, 27))
    assert not run.scheduler.plan(run.history.curves(), Ask(1, n_new=0)).finished
    run.history.put(ObservedTrial(0, State.COMPLETE, params, {}, 27, final=0.1))
    assert run.scheduler.plan(run.history.curves(), Ask(1, n_new=0)).finished


def test_params_of_optunas_samplers_are_left_to_them() -> None:
    run = kit.Run(kit.spec(sampler="tpe", pruner="median"))
    plan = run.scheduler.plan(run.history.curves(), Ask(2))
    assert [start.params for start in plan.starts] == [None, None]


def test_every_pruner_of_a_study_file_has_a_scheduler() -> None:
    assert set(SCHEDULERS) == set(methods.PRUNERS) - {"auto"}


@pytest.mark.parametrize("kind", ["pause", "stop"])
def test_asha_pauses_unless_it_is_told_to_stop(kind: str) -> None:
    options = {"type": "stop"} if kind == "stop" else {}
    run = kit.Run(kit.spec(pruner={"name": "asha", **options}))
    assert run.scheduler.pauses == (kind == "pause")
