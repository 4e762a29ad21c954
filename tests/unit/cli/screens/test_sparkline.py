"""Curves as one line of blocks."""

import math

import pytest

from hpo.cli.screens.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 8, ""),
        ([0.5], 8, "▅"),
        ([1, 1, 1], 8, "▅▅▅"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([3.0, 2.0, math.nan, 0.0], 8, "█▆·▁"),
        ([0.0, math.inf, 1.0], 8, "▁·█"),
        ([-1e308, 1e308], 8, "▁█"),
        # The first and the last value are always drawn.
        (list(range(100)), 3, "▁▅█"),
        ([1, 2, 3], 1, "▅"),
        ([1, 2, 3], 0, ""),
    ],
)
def test_a_curve_is_drawn(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn
