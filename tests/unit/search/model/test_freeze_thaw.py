"""Freeze-thaw: what is begun, continued and left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hpo.search.base.curves import State
from hpo.search.base.decisions import Ask, Decision, Plan, Start
from hpo.search.base.history import ObservedTrial
from hpo.search.model.curve_gp import Posterior, Prediction
from hpo.search.model.kernel import Points
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.study_spec import StudySpec
from tests.kits import search_kit as kit


@pytest.fixture(scope="module")
def run() -> kit.Run:
    return kit.Run(kit.spec(budget={"trials": 24, "epochs": 27})).to_the_end()


@pytest.mark.slow
def test_a_study_ends_by_itself_with_exactly_its_trials(run: kit.Run) -> None:
    assert len(run.states) == 24
    assert run.plans[-1].finished
    assert set(run.states.values()) <= {State.PAUSED, State.COMPLETE}


def test_it_finds_the_peak_with_a_fraction_of_the_epochs(run: kit.Run) -> None:
    assert abs(math.log10(run.best()["learning_rate"] / 0.01)) < 0.25
    assert run.best()["optimizer"] == "sgd"
    assert run.n_epochs < 24 * 27 / 2


def test_bad_trials_stay_where_they_paused(run: kit.Run) -> None:
    far_off = [n for n, p in run.params.items() if not 1e-3 < p["learning_rate"] < 0.1]
    assert far_off
    assert max(run.epochs[number] for number in far_off) < 27


def test_every_start_has_the_next_number(run: kit.Run) -> None:
    numbers = [start.number for plan in run.plans for start in plan.starts]
    assert numbers == list(range(24))


@pytest.mark.slow
def test_the_same_seed_makes_the_same_study_and_another_one_another() -> None:
    budget = {"trials": 14, "epochs": 9}
    first = kit.Run(kit.spec(budget=budget, seed=1)).to_the_end()
    again = kit.Run(kit.spec(budget=budget, seed=1)).to_the_end()
    other = kit.Run(kit.spec(budget=budget, seed=2)).to_the_end()
    assert first.params == again.params
    assert first.epochs == again.epochs
    assert first.params != other.params


def test_a_batch_has_different_points_and_counts_itself_as_pending() -> None:
    run = kit.Run(kit.spec(), n_places=16)
    for _ in range(12):
        run.fill()
        run.train()
    points = [tuple(map(str, params.values())) for params in run.params.values()]
    assert len(set(points)) == len(points)
    rates = [math.log10(p["learning_rate"]) for p in run.params.values()]
    assert np.std(rates[-16:]) > 0.05


def test_a_finite_space_ends_when_every_point_was_tried() -> None:
    space = {"learning_rate": {"choices": [0.001, 0.01, 0.1]}, "width": {"choices": [16, 32]}}
    study = kit.spec(space=space, budget={"trials": 100, "epochs": 9})
    run = kit.Run(study).to_the_end()
    points = [tuple(params.values()) for params in run.params.values()]
    assert sorted(points) == sorted((r, w) for r in (0.001, 0.01, 0.1) for w in (16, 32))
    assert run.plans[-1].finished
    assert run.best()["learning_rate"] == 0.01


@pytest.mark.parametrize("n_rates", [3, 15])
def test_a_structure_whose_points_are_tried_does_not_end_a_study(n_rates: int) -> None:
    rates = [10.0 ** -(1 + i / 5) for i in range(n_rates)]
    space = {"learning_rate": {"choices": rates}, "width": {"choices": [16, 32]}}
    run = kit.Run(kit.spec(space=space, budget={"trials": 100, "epochs": 9}))
    for number, rate in enumerate(rates):
        params = {"learning_rate": rate, "width": 16}
        values = {
            epoch: kit.accuracy({**params, "optimizer": "sgd"}, epoch) for epoch in range(1, 10)
        }
        run.history.put(ObservedTrial(number, State.COMPLETE, params, values))
    ask = Ask(1, structural=("width",), structure={"width": 16})
    plan = run.scheduler.plan(run.history.curves(), ask)
    assert not plan.finished
    assert [dict(start.params or {})["width"] for start in plan.starts] == [32]


@pytest.mark.slow
def test_losses_are_minimised() -> None:
    study = kit.spec(metric="val_loss", budget={"trials": 16, "epochs": 9})
    run = kit.Run(study, objective=lambda params, epoch: 2.0 - kit.accuracy(params, epoch))
    run.to_the_end()
    ended = [n for n, state in run.states.items() if state == State.COMPLETE]
    losses = {n: run.objective(run.params[n], 9) for n in run.states}
    assert min(losses, key=lambda n: losses[n]) in ended


@pytest.mark.slow
def test_a_diverged_trial_is_stopped_and_taken_for_a_bad_one() -> None:
    def objective(params: Mapping[str, Any], epoch: int) -> float:
        rate = params["learning_rate"]
        return math.nan if rate > 0.05 and epoch > 1 else kit.accuracy(params, epoch)

    late = []
    for seed in range(4):
        run = kit.Run(kit.spec(budget={"trials": 24, "epochs": 9}, seed=seed), objective)
        run.to_the_end()
        stopped = [n for n, state in run.states.items() if state == State.PRUNED]
        assert stopped
        assert all(run.params[n]["learning_rate"] > 0.05 for n in stopped)
        late += [run.params[n]["learning_rate"] for n in run.params if n >= 16]
    # A third of the range diverges.
    assert sum(rate > 0.05 for rate in late) <= len(late) / 4


def test_no_new_trials_means_going_on_with_those_that_may_win() -> None:
    run = kit.Run(kit.spec(budget={"trials": 14, "epochs": 27}))
    while len(run.states) < 14:
        run.fill()
        run.train()
    n_before = run.n_epochs
    run.to_the_end()
    assert len(run.states) == 14
    assert run.n_epochs > n_before
    heights = {n: kit.accuracy(params, 27) for n, params in run.params.items()}
    assert run.states[max(heights, key=lambda n: heights[n])] == State.COMPLETE


def test_a_trial_at_its_rung_may_go_on_at_once() -> None:
    run = kit.Run(kit.spec(), n_places=4)
    for _ in range(20):
        run.fill()
        run.train()
    curves = run.history.curves()
    number = run.running[0]
    rows = curves.rows_of([number])
    targets = curves.targets.copy()
    targets[rows] = curves.epochs[rows]
    at_rung = replace(curves, targets=targets)
    plan = run.scheduler.plan(at_rung, Ask(60, n_new=0, at_rung=(number,)))
    others = {n for n in run.states if n not in run.running}
    assert {advance.number for advance in plan.advances} <= others | {number}


def test_pinned_values_are_kept() -> None:
    run = kit.Run(kit.spec(), n_places=2)
    for _ in range(30):
        run.fill()
        run.train()
    pinned = {"width": 32, "optimizer": "adam"}
    curves = run.history.curves()
    plan = run.scheduler.plan(curves, Ask(8, structure=pinned, memory=run.memory))
    proposal = run.scheduler.propose(curves, [90, 91], Ask(2, structure=pinned))
    points = [dict(start.params or {}) for start in plan.starts]
    points += [dict(point or {}) for point in proposal.points]
    assert len(points) >= 2
    assert all(point["width"] == 32 and point["optimizer"] == "adam" for point in points)
    assert all("momentum" not in point for point in points)


@pytest.mark.slow
def test_a_batch_has_few_structures() -> None:
    run = kit.Run(kit.spec(), n_places=16)
    for _ in range(8):
        run.fill()
        run.train()
    ask = Ask(32, structural=("width", "optimizer"), memory=run.memory)
    numbers = list(range(200, 232))
    points = run.scheduler.propose(run.history.curves(), numbers, ask).points
    assert len({(p["width"], p["optimizer"]) for p in points if p is not None}) <= 2
    assert len({p["learning_rate"] for p in points if p is not None}) > 20


@pytest.mark.slow
def test_two_workers_with_the_same_history_propose_different_points() -> None:
    run = kit.Run(kit.spec(), n_places=4)
    for _ in range(20):
        run.fill()
        run.train()
    curves = run.history.curves()
    one = run.scheduler.propose(curves, [40], Ask(1)).points
    other = run.scheduler.propose(curves, [41], Ask(1)).points
    assert one != other


def test_a_running_trial_pauses_at_its_target_and_completes_at_the_horizon() -> None:
    run = kit.Run(kit.spec())
    run.fill()
    stop = run.plans[0].assignments[0].epoch_stop
    for _ in range(stop - 1):
        run.train()
    assert run.running == [0]
    run.train()
    assert run.states[0] == State.PAUSED
    row = ObservedTrial(0, State.RUNNING, run.params[0], {27: 0.9}, 27)
    run.history.put(row)
    assert run.scheduler.judge(run.history.curves(), [0]) == [Decision.COMPLETE]


def test_one_epoch_is_enough_for_a_study() -> None:
    study: StudySpec = kit.spec(budget={"trials": 20, "epochs": 1})
    run = kit.Run(study, objective=lambda params, epoch: kit.accuracy(params, 27)).to_the_end()
    assert set(run.states.values()) == {State.COMPLETE}
    assert abs(math.log10(run.best()["learning_rate"] / 0.01)) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_rounding_changes_no_choice(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As other processors and other numbers of threads round: a plan can still be made again."""
    predict = Posterior.predict

    def nudged(self: Posterior, points: Points) -> Prediction:
        found = predict(self, points)
        rng = torch.Generator().manual_seed(len(found.mean))
        found.mean += size * torch.randn(found.mean.shape, generator=rng, dtype=torch.float64)
        return found

    # Only the end of its range is good: what is close to it is as good but for the last digits.
    run = kit.Run(kit.spec(), lambda params, _: params["learning_rate"] ** 0.1, n_places=4)
    for _ in range(40):
        run.fill()
        run.train()
    curves = run.history.curves()
    before = run.scheduler.plan(curves, Ask(16, memory=run.memory))
    monkeypatch.setattr(Posterior, "predict", nudged)
    again = run.scheduler.plan(curves, Ask(16, memory=run.memory))
    assert _choices(again) == _choices(before)


def _choices(plan: Plan) -> list[tuple[Any, ...]]:
    return [
        (one.number, one.epoch_stop, one.params if isinstance(one, Start) else None)
        for one in plan.assignments
    ]


def _off_the_corner(params: Mapping[str, Any], epoch: int) -> float:
    # At the corner of x = 0 it is 0.09 worse than at the optimum of x = 0.3 and y = 0.
    return -((params["x"] - 0.3) ** 2) - params["y"] - math.exp(-epoch / 3.0)


@pytest.mark.slow
def test_no_search_of_an_objective_stays_at_a_corner() -> None:
    unit = {"low": 0.0, "high": 1.0}
    found = []
    for seed in range(20):
        changes: dict[str, Any] = {"space": {"x": unit, "y": unit}, "seed": seed}
        budget = {"trials": 18, "epochs": 9}
        run = kit.Run(kit.spec(**changes, budget=budget), _off_the_corner)
        study = StudySpec(name="s", objective="o.py:f", budget=budget, seed=seed)
        run.scheduler = make_scheduler(study, encoder=run.history.encoder)
        found.append(run.to_the_end().best())
    assert max(abs(params["x"] - 0.3) for params in found) < 0.15
    assert max(params["y"] for params in found) < 0.05
