"""Pictures: Optuna's plots by matplotlib, in one style, without opening a window."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryConverter
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from hpo.report.plots import optuna_plots
from hpo.report.plots.optuna_plots import KINDS, Content

NOTE_COLOUR: Final = "#666666"
_PANEL: Final = 2.4
"""Width and height of a panel in a grid, in inches."""
_LABELS: Final = {
    "Feasible": "complete",
    "Infeasible": "stopped early",
    "Trial": "dominated",
    "Best Trial": "on the front",
}
_SMALL: Final = 9.0
_DECADES: Final = 100.0
"""A logarithmic axis over more than this factor needs no minor ticks."""
_WIDEST_LABELS: Final = 18
"""Characters that fit side by side below a panel."""


def draw(shown: Content) -> Figure:
    """Draws a plot of Optuna's as a picture."""
    if "matplotlib.pyplot" not in sys.modules:
        # Without a window, also where there is a screen.
        mpl.use("Agg")
    from matplotlib import pyplot

    size = _size(shown)
    # The style that Optuna sets ends with the context.
    with mpl.rc_context():
        mpl.rcParams["figure.figsize"] = size
        mpl.rcParams["figure.constrained_layout.use"] = True
        drawn: Any = optuna_plots.draw(shown, "matplotlib")
        axes = drawn if isinstance(drawn, Axes) else drawn.flat[0]
        figure = axes.figure
        assert isinstance(figure, Figure)
        pyplot.close(figure)
        figure.set_size_inches(*size)
        for axes in figure.axes:
            _restyle(axes, shown)
        _legend(figure, shown)
        caption(figure, shown.title, shown.summary)
    return figure


def caption(figure: Figure, title: str, note: str) -> None:
    """Writes the title above a figure, and a note below it."""
    figure.set_facecolor("white")
    figure.suptitle(title, fontsize=11, color="black")
    figure.supxlabel(note, fontsize=8, color=NOTE_COLOUR)


def _size(shown: Content) -> tuple[float, float]:
    n = len(shown.params)
    if KINDS[shown.kind].is_grid and n > 2:
        return _PANEL * n + 1.8, _PANEL * n + 0.8
    if shown.kind == "slice":
        return max(5.0, 2.2 * n + 1.0), 3.8
    if shown.kind == "parallel":
        return max(7.0, 1.05 * n + 2.5), 4.4
    if shown.kind == "importance":
        return 7.0, max(2.4, 0.3 * n * max(1.0, 0.6 * len(shown.metrics)) + 1.4)
    return 7.0, 4.8


def _restyle(axes: Axes, shown: Content) -> None:
    axes.set_facecolor("white")
    axes.set_title("")
    axes.set_title("", loc="left")
    axes.tick_params(labelsize=_SMALL, colors="#333333")
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(_SMALL + 1)
        axis.label.set_color("black")
        low, high = sorted(axis.get_view_interval())
        if axis.get_scale() == "log" and high > _DECADES * low > 0:
            # They take most of the time of a layout; labels stand at the others.
            axis.set_minor_locator(NullLocator())
    if shown.kind == "parallel":
        axes.grid(visible=False)
        return
    axes.grid(alpha=0.25, color="#999999")
    axes.set_axisbelow(True)
    if shown.kind == "importance":
        axes.set_ylabel("")
        axes.set_xlabel("share of the importance")
        axes.grid(visible=False, axis="y")
    dots = [each for each in axes.collections if isinstance(each, PathCollection)]
    for i, each in enumerate(dots):
        each.set_sizes([8.0 if shown.kind == "contour" else 18.0])
        # Complete trials come first, and stopped ones would hide them.
        each.set_zorder(3.0 - 0.1 * i)
        each.set_linewidth(0.4)
        each.set_edgecolor("#777777")
    if shown.kind == "slice":
        _sort_categories(axes, dots, shown)


def _sort_categories(axes: Axes, dots: Sequence[PathCollection], shown: Content) -> None:
    """Puts the choices of a parameter into their order; Optuna has them as they first occur."""
    if not isinstance(axes.xaxis.get_converter(), StrCategoryConverter):
        return
    labels = [label.get_text() for label in axes.get_xticklabels()]
    name = axes.get_xlabel()
    trial = next(t for t in shown.study.get_trials() if name in t.distributions)
    choices = [repr(choice) for choice in getattr(trial.distributions[name], "choices", ())]
    if not set(labels) <= set(choices):
        return
    ordered = sorted(labels, key=choices.index)
    places = np.array([ordered.index(label) for label in labels], dtype=float)
    for each in dots:
        offsets = np.asarray(each.get_offsets(), dtype=float)
        if len(offsets):
            offsets[:, 0] = places[offsets[:, 0].astype(int)]
            each.set_offsets(offsets)
    is_long = sum(map(len, ordered)) > _WIDEST_LABELS
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if is_long else {}
    axes.set_xticks(range(len(ordered)), ordered, **turned)


def _legend(figure: Figure, shown: Content) -> None:
    """Names the kinds of trials as hpo does."""
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is None:
            continue
        if shown.kind == "importance" and len(shown.metrics) == 1:
            legend.remove()
            continue
        legend.get_frame().set(facecolor="white", edgecolor="none")
        for text in legend.get_texts():
            text.set_text(_LABELS.get(text.get_text(), text.get_text()))
            text.set_fontsize(_SMALL)
    if shown.kind == "parallel":
        for lines in figure.axes[0].collections:
            if isinstance(lines, LineCollection):
                lines.set(linewidth=1.0, alpha=0.8)
