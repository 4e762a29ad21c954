"""Structure first: which params trials of one structure have in common, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from hpo.run.assignment.structural_params import StructuralParams
from hpo.run.assignment.structure_first import StructureFirst, StructureSettings, run_length
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace
from tests.kits.toy import Digits

SPACE = SearchSpace(
    {
        "batch_size": Categorical([16, 32]),
        "depth": Int(1, 3),
        "width": Fixed(8),
        "learning_rate": Float(0.01, 1.0),
    }
)
ALIKE = SearchSpace({"batch_size": Fixed(16), "learning_rate": Float(0.01, 1.0)})
POINT = {"batch_size": 16, "depth": 2, "width": 8, "learning_rate": 0.1}


class Sampler:
    """Draws another structure for each trial that is free, and keeps what it was asked for."""

    def __init__(self, space: SearchSpace = SPACE) -> None:
        self.space = space
        self.asked: list[tuple[int, dict[str, Any]]] = []

    def __call__(
        self, trial_ids: Sequence[int], required: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        self.asked.append((len(trial_ids), dict(required)))
        return [{**self._point(trial_id), **required} for trial_id in trial_ids]

    def _point(self, trial_id: int) -> dict[str, Any]:
        if self.space is ALIKE:
            return {"batch_size": 16, "learning_rate": 0.1}
        return {**POINT, "depth": 1 + trial_id % 3}


def structure_first(run: int, space: SearchSpace = SPACE, **more: Any) -> StructureFirst:
    return StructureFirst(StructuralParams(Digits(), 100, space), run, **more)


def test_the_batch_size_is_structural_until_stacks_share_it() -> None:
    known: list[Params] = []
    first = structure_first(8, shares_batch_sizes=lambda params: params in known)
    first.note([POINT])
    assert first.required() == {"batch_size": 16, "depth": 2}
    assert list(first.names) == ["batch_size", "depth"]
    # The first trial of the structure has been trained by now.
    known.append(Params(POINT))
    assert first.required() == {"depth": 2}
    assert list(first.names) == ["depth"]


def test_trials_of_a_shared_structure_belong_together_whatever_their_batch_size() -> None:
    first = structure_first(8, shares_batch_sizes=lambda params: params["depth"] == 2)
    points = [{**POINT, "batch_size": size, "depth": d} for d in (2, 3) for size in (16, 32)]
    assert len({first.key(point) for point in points}) == 4
    for point in points[::2]:
        first.note([point] * 8)
        assert first.required() is None
    assert [len({first.key(p) for p in two}) for two in (points[:2], points[2:])] == [1, 2]


def test_the_first_trial_of_a_structure_decides_it_for_those_after_it() -> None:
    first, sampler = structure_first(3), Sampler()
    points = first.draw([0, 1, 2, 4, 5], sampler)
    assert [point["depth"] for point in points] == [1, 1, 1, 2, 2]
    assert sampler.asked == [
        (1, {}),
        (2, {"batch_size": 16, "depth": 1}),
        (1, {}),
        (1, {"batch_size": 16, "depth": 2}),
    ]
    assert first.n_left == 1


def test_a_new_structure_waits_for_half_a_stack_and_begins_with_one_trial() -> None:
    first, sampler = structure_first(4), Sampler()
    assert [first.n_wanted(3, 5), first.n_wanted(4, 4), first.n_wanted(8, 0)] == [0, 1, 1]
    first.draw([0], sampler)
    assert [first.n_wanted(7, 1), first.n_wanted(2, 6)] == [3, 2]
    first.draw([1, 2, 3], sampler)
    assert first.n_wanted(3, 4) == 0


def test_trials_of_a_space_without_structural_params_are_all_alike() -> None:
    first, sampler = structure_first(4, ALIKE), Sampler(ALIKE)
    assert first.n_wanted(8, 0) == 1
    first.draw([0], sampler)
    assert [first.n_wanted(8, 1), first.n_wanted(2, 6)] == [3, 2]
    assert first.required() is None
    first.draw([1, 2, 3], sampler)
    assert sampler.asked == [(1, {}), (3, {})]
    first.draw([4, 5], sampler, one_by_one=True)
    assert sampler.asked[2:] == [(1, {}), (1, {})]


def test_a_run_of_one_requires_nothing() -> None:
    first, sampler = structure_first(1), Sampler()
    points = first.draw(range(3), sampler)
    assert [point["depth"] for point in points] == [1, 2, 3]
    assert sampler.asked == [(1, {})] * 3
    assert first.n_wanted(4, 4) == 1


def test_planned_points_count_as_begun() -> None:
    first = structure_first(4)
    first.note([POINT, POINT])
    assert (first.n_left, first.required()) == (2, {"batch_size": 16, "depth": 2})


@pytest.mark.parametrize(
    ("n_trials", "most", "expected"), [(None, 32, 32), (24, 32, 2), (1000, 32, 32), (3, 32, 1)]
)
def test_a_budget_is_shared_by_the_structures_of_the_space(
    n_trials: int | None, most: int, expected: int
) -> None:
    # The space has six structures.
    assert run_length(SPACE, n_trials, most) == expected


def test_no_more_structures_than_the_settings_say_need_room() -> None:
    assert run_length(SPACE, 24, 32, StructureSettings(n_structures=3)) == 4
