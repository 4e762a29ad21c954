"""Tables that share the height of a screen."""

import pytest
from rich.cells import cell_len

from hpo.cli.screens.panels import Panel, fitted, shares

PANELS = [
    Panel(("one", "n"), [(f"a{i}", str(i)) for i in range(12)], right=frozenset({1})),
    Panel(("two", "text"), [("b", "x" * 90)]),
    Panel(("three", "y"), [(f"c{i}", "") for i in range(30)]),
]


def drawn(width: int, height: int | None) -> list[str]:
    return [line.plain for line in fitted(PANELS, width, height)]


@pytest.mark.parametrize(
    ("wanted", "room", "given"),
    [
        ([], 5, []),
        ([2, 50, 50], 20, [2, 9, 9]),
        ([50, 2, 50], 20, [9, 2, 9]),
        ([3, 3], 100, [3, 3]),
        ([3, 3], 0, [0, 0]),
        ([3, 3], -4, [0, 0]),
    ],
)
def test_room_is_divided_fairly(wanted: list[int], room: int, given: list[int]) -> None:
    assert shares(wanted, room) == given


@pytest.mark.parametrize("height", range(60))
def test_panels_never_exceed_their_height(height: int) -> None:
    assert len(drawn(80, height)) <= height


@pytest.mark.parametrize("width", [10, 20, 40, 80, 200])
def test_panels_never_exceed_their_width(width: int) -> None:
    assert max(map(cell_len, drawn(width, 40))) <= width


def test_rows_that_are_left_out_are_counted() -> None:
    lines = drawn(80, 20)
    assert lines[1:3] == [" one  n", " a0   0"]
    notes = [int(line.split()[1]) for line in lines if line.startswith(" and ")]
    shown = [
        sum(line.startswith(f" {letter}") and line[2:3].isdigit() for line in lines)
        for letter in "ac"
    ]
    assert [n + left for n, left in zip(shown, notes, strict=True)] == [12, 30]


def test_without_a_limit_all_rows_are_shown() -> None:
    lines = drawn(200, None)
    assert sum(line.startswith(" c") for line in lines) == 30
    assert f" b    {'x' * 90}" in lines


def test_the_last_optional_column_is_left_out_first() -> None:
    panel = Panel(("a", "b", "c"), [("1" * 10, "2" * 10, "3" * 10)], optional=(1, 2))
    shown = {width: fitted([panel], width, None)[2].plain.split() for width in (40, 30, 20)}
    assert shown == {
        40: ["1" * 10, "2" * 10, "3" * 10],
        30: ["1" * 10, "2" * 10],
        20: ["1" * 10],
    }


def test_text_of_others_cannot_control_the_terminal() -> None:
    (_, _, line) = fitted([Panel(("a",), [("\x1b[2J\nx",)])], 80, None)
    assert line.plain == " ␛[2J␊x"
