"""The Pareto front, against its definition."""

import random

from hpo.report.pareto import pareto_front


def test_front_is_what_nothing_dominates() -> None:
    rng = random.Random(0)
    points = {i: (rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 3)) for i in range(80)}
    directions = ("minimize", "maximize", "minimize")

    def beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return a != b and a[0] <= b[0] and a[1] >= b[1] and a[2] <= b[2]

    expected = {
        i for i, p in points.items() if not any(beats(other, p) for other in points.values())
    }
    assert set(pareto_front(points, directions)) == expected


def test_equal_points_are_all_on_it() -> None:
    assert set(pareto_front({1: (0.0, 1.0), 2: (0.0, 1.0)}, ("minimize", "minimize"))) == {1, 2}


def test_infinities_take_part() -> None:
    points = {1: (float("-inf"), 1.0), 2: (0.0, 1.0)}
    assert pareto_front(points, ("minimize", "minimize")) == [1]
