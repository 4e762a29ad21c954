"""Chart pictures: charts drawn by matplotlib, without opening a window."""

from __future__ import annotations

from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.report.plots.chart import PALE, Bars, Chart, Dots, Line, Mark, Panel
from hpo.report.plots.texts import plain

_LEGEND: Final = {"framealpha": 0.8, "edgecolor": "none"}
_NOTE: Final = {"fontsize": 8, "color": "#666666"}
_MARGIN: Final = 0.8
_LEGEND_COLUMNS: Final = 6


def draw(chart: Chart) -> Figure:
    """Draws a chart."""
    n = len(chart.panels)
    size = (chart.panel_width * n + _MARGIN, chart.height)
    figure = Figure(figsize=size, layout="constrained")
    for axes, panel in zip(figure.subplots(1, n, squeeze=False)[0], chart.panels, strict=True):
        _draw_panel(axes, panel)
    figure.suptitle(plain(chart.title), fontsize=11)
    if chart.note:
        figure.supxlabel(plain(chart.note), **_NOTE)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    if panel.behind:
        lines = [list(zip(xs, ys, strict=True)) for xs, ys in panel.behind]
        axes.add_collection(LineCollection(lines, colors=PALE, linewidths=0.6, alpha=0.5))
        # A line of a single point is invisible.
        ends = [line[-1] for line in lines if len(line) == 1]
        xs, ys = [x for x, _ in ends], [y for _, y in ends]
        axes.plot(xs, ys, ".", color=PALE, markersize=2, alpha=0.5)
        axes.autoscale_view()
    for mark in panel.marks:
        _draw_mark(axes, mark)
    axes.set_xlabel(plain(panel.x_label))
    axes.set_ylabel(plain(panel.y_label))
    if panel.has_whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.25, axis="x" if panel.rows else "both")
    if panel.rows:
        axes.set_yticks([y for y, _ in panel.rows], [plain(text) for _, text in panel.rows])
        axes.tick_params(axis="y", length=0, labelsize=8)
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    options: dict[str, Any] = dict(_LEGEND)
    if panel.rows:
        # Bars leave no room within the axes.
        columns = min(len(labels), _LEGEND_COLUMNS)
        options |= {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "fontsize": 8}
    axes.legend(**options)


def _draw_mark(axes: Axes, mark: Mark) -> None:
    label = plain(mark.label)
    if isinstance(mark, Line):
        axes.plot(
            mark.xs,
            mark.ys,
            "--" if mark.is_dashed else "-",
            color=mark.colour,
            label=label,
            marker="o" if len(mark.xs) == 1 else "",
            linewidth=1.8,
            drawstyle="steps-post" if mark.is_step else "default",
        )
    elif isinstance(mark, Dots):
        _draw_dots(axes, mark, label)
    else:
        _draw_bars(axes, mark, label)


def _draw_dots(axes: Axes, mark: Dots, label: str) -> None:
    if mark.is_cross:
        axes.scatter(mark.xs, mark.ys, s=36, c=mark.colour, marker="x", label=label, zorder=4)
        return
    face = mark.colour if mark.is_filled else "none"
    axes.scatter(mark.xs, mark.ys, s=14, facecolors=face, edgecolors=mark.colour, label=label)


def _draw_bars(axes: Axes, mark: Bars, label: str) -> None:
    axes.barh(
        mark.ys,
        mark.widths,
        left=mark.starts,
        height=0.86,
        color=mark.colour,
        edgecolor="white",
        linewidth=0.4,
        hatch="////" if mark.is_hatched else None,
        label=label,
    )
