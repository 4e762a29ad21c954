"""Chart: what a plot of hpo's own shows, as plain data that either library can draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette for colour-blind readers."""
PALE: Final = "#B0B0B0"
FAILED: Final = "#C1272D"


@dataclass(frozen=True)
class Line:
    """A line through points.

    Attributes:
        xs: Horizontal coordinates.
        ys: Vertical coordinates.
        label: In the legend.
        colour: As ``#rrggbb``.
        is_dashed: Instead of solid.
        is_step: It keeps each value until the next point.
    """

    xs: Sequence[float]
    ys: Sequence[float]
    label: str
    colour: str
    is_dashed: bool = False
    is_step: bool = False


@dataclass(frozen=True)
class Dots:
    """Points.

    Attributes:
        xs: Horizontal coordinates.
        ys: Vertical coordinates.
        label: In the legend.
        colour: As ``#rrggbb``.
        is_filled: Instead of hollow.
        is_cross: A cross instead of a circle.
        notes: What a page shows of each point under the mouse.
    """

    xs: Sequence[float]
    ys: Sequence[float]
    label: str
    colour: str
    is_filled: bool = True
    is_cross: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Bars:
    """Horizontal bars.

    Attributes:
        ys: Rows.
        starts: Left ends.
        widths: Lengths.
        label: In the legend.
        colour: As ``#rrggbb``.
        notes: What a page shows of each bar under the mouse.
        is_hatched: To be told from others of the colour.
    """

    ys: Sequence[float]
    starts: Sequence[float]
    widths: Sequence[float]
    label: str
    colour: str
    notes: Sequence[str] = ()
    is_hatched: bool = False


Mark = Line | Dots | Bars


@dataclass(frozen=True)
class Panel:
    """A panel of a chart.

    Attributes:
        x_label: Below the horizontal axis.
        y_label: Beside the vertical axis.
        marks: What it shows, the hindmost first.
        behind: Thin grey lines behind them: xs and ys of each.
        y_range: Bounds of the vertical axis; None for those of what it shows.
        rows: Labels on the vertical axis, in place of numbers, and where they stand.
        has_whole_x: The horizontal axis counts something.
    """

    x_label: str
    y_label: str
    marks: Sequence[Mark]
    behind: Sequence[tuple[Sequence[float], Sequence[float]]] = ()
    y_range: tuple[float, float] | None = None
    rows: Sequence[tuple[float, str]] = field(default_factory=tuple)
    has_whole_x: bool = False


@dataclass(frozen=True)
class Chart:
    """A plot.

    Attributes:
        title: Above it.
        panels: Side by side.
        note: Below it, or below its title.
        height: In inches.
        panel_width: In inches.
    """

    title: str
    panels: Sequence[Panel]
    note: str = ""
    height: float = 4.2
    panel_width: float = 5.2
