"""Point drawing: which params new trials get, and what is stored and recorded of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from hpo.run.assignment.point_drawing import PointDrawing
from hpo.run.assignment.structural_params import StructuralParams
from hpo.run.assignment.structure_first import StructureFirst
from hpo.run.assignment.study_view import StudyView
from hpo.search.base.decisions import Ask, Plan, Start
from hpo.search.base.proposers import Proposal
from tests.kits.study_changes import PARAMS, SPEC, changes, lease, trial
from tests.kits.toy import Digits


class Search:
    """Keeps what is stored, and draws a point of its own for each trial."""

    def __init__(self) -> None:
        self.stored: dict[int, Mapping[str, Any]] = {}
        self.asked: list[tuple[list[int], dict[str, Any], list[int]]] = []

    def give(self, points: Mapping[int, Mapping[str, Any]]) -> None:
        self.stored |= points

    def ask(
        self, trial_ids: Sequence[int], required: Mapping[str, Any], paused: Sequence[int]
    ) -> list[dict[str, Any]]:
        self.asked.append((list(trial_ids), dict(required), list(paused)))
        return [
            {"learning_rate": 0.1, "depth": 1 + trial_id % 3, "width": 8, **required}
            for trial_id in trial_ids
        ]


class Records:
    """Keeps which proposals were recorded."""

    memory: Mapping[str, Any] = {"of": "the last worker"}

    def __init__(self) -> None:
        self.drawn: list[list[int]] = []

    def note_drawn(self, curves: Any, numbers: Sequence[int], ask: Ask, memory: Any) -> None:
        self.drawn.append(list(numbers))


class Proposes:
    """A scheduler that proposes points for the first trials, and keeps what it was asked."""

    def __init__(self, *points: dict[str, Any] | None) -> None:
        self.points = list(points)
        self.asks: list[Ask] = []

    def propose(self, curves: Any, numbers: Sequence[int], ask: Ask) -> Proposal:
        self.asks.append(ask)
        return Proposal(self.points[: len(numbers)], {"of": "the proposal"})


class Client:
    def call(self, call: Callable[[], Any]) -> Any:
        return call()


class Drawing(SimpleNamespace):
    search: Search
    records: Records
    view: StudyView
    drawing: PointDrawing

    def draw(self, numbers: Sequence[int], scheduler: Any) -> dict[int, dict[str, Any]]:
        leases = [lease(number, 1, is_new=True) for number in numbers]
        return self.drawing.draw(leases, scheduler, self.view)


def drawing(structure_first: StructureFirst | None = None) -> Drawing:
    search, records, view = Search(), Records(), StudyView(SPEC)
    view.update(changes(trial(0, values={1: 0.5}), t0=(False, 1, 1)))
    context: Any = SimpleNamespace(search=search, client=Client())
    found = PointDrawing(context, records, structure_first)  # type: ignore[arg-type]
    return Drawing(search=search, records=records, view=view, drawing=found)


def test_new_trials_get_the_points_that_were_planned_for_their_numbers() -> None:
    made, scheduler = drawing(), Proposes()
    starts = tuple(Start(n, {**PARAMS, "depth": n}, 1) for n in (1, 2))
    made.drawing.expect(Plan(starts, memory={"of": "the plan"}))
    assert made.draw([2, 1], scheduler) == {
        102: {**PARAMS, "depth": 2, "width": 8},
        101: {**PARAMS, "depth": 1, "width": 8},
    }
    assert made.search.stored == {101: starts[0].params, 102: starts[1].params}
    assert made.drawing.memory == {"of": "the plan"}
    assert (scheduler.asks, made.search.asked, made.records.drawn) == ([], [], [])


def test_where_another_worker_was_faster_the_points_are_proposed_anew_and_recorded() -> None:
    made, scheduler = drawing(), Proposes(PARAMS, PARAMS)
    made.drawing.expect(Plan((Start(1, PARAMS, 1), Start(2, PARAMS, 1))))
    assert set(made.draw([2, 3], scheduler)) == {102, 103}
    assert made.records.drawn == [[2, 3]]
    assert made.drawing.memory == {"of": "the proposal"}


def test_a_new_worker_has_the_memory_of_the_last_one() -> None:
    made, scheduler = drawing(), Proposes(PARAMS)
    made.draw([1], scheduler)
    assert scheduler.asks[0].memory == {"of": "the last worker"}


@pytest.mark.parametrize("points", [(None, PARAMS), (PARAMS,)])
def test_what_the_scheduler_leaves_open_the_sampler_draws(points: tuple[Any, ...]) -> None:
    made = drawing()
    params = made.draw([1, 2], Proposes(*points))
    given, open_ = (102, 101) if points[0] is None else (101, 102)
    assert params[given] == {**PARAMS, "width": 8}
    # The sampler learns which trials are paused.
    assert made.search.asked == [([open_], {}, [100])]
    assert set(made.search.stored) == {given}


def test_sampled_trials_share_the_structure_of_the_first() -> None:
    made = drawing(StructureFirst(StructuralParams(Digits(), 100, SPEC.space), 3))
    params = made.draw([1, 2, 3, 5], Proposes())
    assert [params[100 + n]["depth"] for n in (1, 2, 3, 5)] == [3, 3, 3, 1]
    assert [(ids, required) for ids, required, _ in made.search.asked] == [
        ([101], {}),
        ([102, 103], {"depth": 3}),
        ([105], {}),
    ]


def test_proposed_trials_must_have_the_structure_of_those_before_them() -> None:
    made = drawing(StructureFirst(StructuralParams(Digits(), 100, SPEC.space), 3))
    scheduler = Proposes(PARAMS)
    made.draw([1], scheduler)
    made.draw([2], scheduler)
    assert [ask.structure for ask in scheduler.asks] == [None, {"depth": 2}]
    assert [ask.structural for ask in scheduler.asks] == [(), ("depth",)]
