from __future__ import annotations

from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace
from hpo.train.checks.probe_points import corners, nearby, scattered, typical

SPACE = SearchSpace(
    {
        "rate": Float(1e-4, 1.0, log=True),
        "depth": Int(1, 4),
        "kind": Categorical(["a", "b", "c"]),
        "size": Int(3, 9, step=3, when={"kind": "b"}),
        "deep": Categorical([True, False], when={"size": [6], "depth": [4]}),
        "fixed": Fixed(5),
    }
)


def test_the_middle() -> None:
    assert typical(SPACE).asdict() == {
        "rate": 1e-2,
        "depth": 2,
        "kind": "a",
        "fixed": 5,
    }


def test_every_choice_is_taken_at_a_corner() -> None:
    points = corners(SPACE)
    assert {p["kind"] for p in points} == {"a", "b", "c"}
    assert {p["size"] for p in points if "size" in p} >= {3, 6, 9}
    assert {p["deep"] for p in points if "deep" in p} == {True, False}
    assert {p["depth"] for p in points} >= {1, 4}
    assert {p["rate"] for p in points} == {1e-4, 1e-2, 1.0}


def test_a_point_nearby_has_what_applies_there() -> None:
    point = typical(SPACE).asdict()
    assert nearby(SPACE, point, "depth", 4) == {**point, "depth": 4}
    there = nearby(SPACE, {**point, "depth": 4}, "kind", "b")
    assert there == {**point, "depth": 4, "kind": "b", "size": 6, "deep": True}
    assert nearby(SPACE, there, "kind", "c") == {**point, "depth": 4, "kind": "c"}


def test_points_are_points_of_the_space() -> None:
    for point in [*corners(SPACE), *scattered(SPACE, 100)]:
        for name in SPACE:
            assert (name in point) == SPACE.is_active(name, point)
        assert all(SPACE[name].contains(value) for name, value in point.items())


def test_scattered_points_are_the_same_each_time() -> None:
    assert scattered(SPACE, 9) == scattered(SPACE, 9)
    assert len({repr(point) for point in scattered(SPACE, 9)}) == 9


def test_an_empty_space_has_one_point() -> None:
    assert corners(SearchSpace()) == [{}]
