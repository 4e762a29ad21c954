"""Panels: titled tables whose rows share the height of a screen. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from hpo.report.text import formatting
from hpo.report.text.printable import cell, visible

GAP = "  "
WIDEST_CELL = 200
MOST_ROWS = 100
"""Where the height is not limited; `-f json` has all."""
_N_HEAD = 2
"""A panel has a blank line and its header above its rows."""


@dataclass(frozen=True)
class Panel:
    """A table whose first column has the table's title as its header.

    Attributes:
        header: Names of the columns; the first one is the title.
        rows: Each has a cell for each column.
        styles: A style for each row, or for none.
        right: Indices of the columns that are aligned to the right.
        optional: Indices of columns that are left out on narrow terminals, the last one first.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    styles: Sequence[str] = ()
    right: frozenset[int] = frozenset()
    optional: tuple[int, ...] = ()


def fitted(panels: Sequence[Panel], width: int, height: int | None) -> list[Text]:
    """Returns the lines of panels that together have at most ``height`` lines.

    Panels without rows are left out. If there is no room for all, the last ones are left out.

    Args:
        width: Maximum cells of a line.
        height: None for no limit but `MOST_ROWS` of each panel.
    """
    shown = [panel for panel in panels if panel.rows]
    room = [MOST_ROWS] * len(shown)
    if height is not None:
        while shown and len(shown) * (_N_HEAD + 1) > height:
            shown.pop()
        room = shares([len(panel.rows) for panel in shown], height - _N_HEAD * len(shown))
    return [
        line
        for panel, n_rows in zip(shown, room, strict=True)
        for line in panel_lines(panel, width, n_rows)
    ]


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """Divides ``room`` fairly: no part is larger than wanted, and the smallest are met first.

    >>> shares([2, 50, 50], 20)
    [2, 9, 9]
    """
    given = [0] * len(wanted)
    left = max(0, room)
    open_ = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for n_before, i in enumerate(open_):
        given[i] = min(wanted[i], left // (len(open_) - n_before))
        left -= given[i]
    return given


def panel_lines(panel: Panel, width: int, n_rows: int) -> list[Text]:
    """Returns a blank line, the header, and at most ``n_rows`` rows.

    If rows are left out, the last line counts them.
    """
    n_all = len(panel.rows)
    n_shown = n_all if n_all <= n_rows else max(0, n_rows - 1)
    rows = [tuple(map(_short, row)) for row in panel.rows[:n_shown]]
    widths = _widths(panel, rows, width)
    header = Text(_line(panel, panel.header, widths, width), style="dim")
    header.stylize("bold not dim", 1, 1 + len(panel.header[0]))
    styles = panel.styles or [""] * n_all
    lines = [Text(), header]
    lines += [
        Text(_line(panel, row, widths, width), style=style)
        for row, style in zip(rows, styles, strict=False)
    ]
    if n_shown < n_all:
        more = f" and {formatting.count(n_all - n_shown)} more"
        lines.append(Text(cut(more, width), style="dim"))
    return lines


def cut(line: str, width: int) -> str:
    """Returns a printable line of at most ``width`` cells, with an ellipsis for a missing end."""
    line = visible(line)
    if cell_len(line) <= width:
        return line
    shortened = Text(line)
    shortened.truncate(max(1, width), overflow="ellipsis")
    return shortened.plain


def _short(text: str) -> str:
    return cell(text, WIDEST_CELL)


def _widths(panel: Panel, rows: Sequence[tuple[str, ...]], width: int) -> dict[int, int]:
    """Returns the width of each column that fits on a line, by its index."""
    table = [panel.header, *rows]
    widths = {i: max(cell_len(row[i]) for row in table) for i in range(len(panel.header))}
    spare = list(panel.optional)
    while spare and 1 + sum(widths.values()) + len(GAP) * (len(widths) - 1) > width:
        del widths[spare.pop()]
    return widths


def _line(panel: Panel, row: tuple[str, ...], widths: dict[int, int], width: int) -> str:
    cells = [
        " " * (n - cell_len(row[i])) + row[i]
        if i in panel.right
        else row[i] + " " * (n - cell_len(row[i]))
        for i, n in widths.items()
    ]
    return cut(f" {GAP.join(cells)}".rstrip(), width)
