"""Panels of drawings: inline SVG whose colours are those of the page, light or dark."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from hpo.report.page.sentences import name_of

# Each colour stands for a variable of the page's style, which it is replaced by.
_VARIABLES: Final = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    "#030303": "var(--line)",
    "#040404": "var(--main)",
    "#050505": "var(--accent)",
    "#060606": "var(--other)",
}
INK, FAINT, LINE, MAIN, ACCENT, OTHER = _VARIABLES
_MOST_DOTS: Final = 600
_REACH: Final = 8.0
"""Values so many times as far from the best as the median are drawn at the edge."""
SETTINGS: Final[Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def figure(n: int, height: float, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Returns a figure of the page's width and its panels, side by side."""
    whole = Figure(figsize=(9.0, height), layout="constrained")
    found: Any = whole.subplots(1, n, squeeze=False, sharey=share_y)
    return whole, list(found[0])


def dots(
    axes: Axes,
    found: Sequence[Sequence[float]],
    label: str,
    colour: str,
    *,
    filled: bool = True,
    size: float = 13,
) -> None:
    """Draws points, if there are any."""
    if found:
        xs, ys = zip(*found, strict=True)
        face = colour if filled else "none"
        axes.scatter(
            xs,
            ys,
            s=size,
            facecolors=face,
            edgecolors=colour,
            linewidths=0.8,
            alpha=0.75,
            label=label,
        )


def legend(axes: Axes) -> None:
    """Puts the legend above the panel, where it hides nothing."""
    n = len(axes.get_legend_handles_labels()[0])
    if n:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=n,
            borderpad=0.1,
            borderaxespad=0.3,
            columnspacing=1.4,
            handlelength=1.4,
        )


def thinned(points: Sequence[Any]) -> Sequence[Any]:
    """Returns points that are few enough to be drawn, evenly spaced."""
    return points[:: max(1, -(-len(points) // _MOST_DOTS))]


def label(axes: Axes, x: str, y: str) -> None:
    """Names the axes, whose numbers are written in full."""
    axes.set_xlabel(name_of(x))
    axes.set_ylabel(name_of(y))
    for axis, name in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if name == "linear" and isinstance(axis.get_major_formatter(), ScalarFormatter):
            axis.set_major_formatter(ScalarFormatter(useOffset=False))


def bound(axes: Axes, found: Iterable[float], sign: float, keep: Sequence[float] = ()) -> bool:
    """Leaves values far from the best off the axis, which would squeeze the others.

    Args:
        axes: Whose vertical axis is bounded.
        found: All values.
        sign: 1 if lower is better, -1 if higher is better.
        keep: Values that stay visible.

    Returns:
        Whether some values are off the axis.
    """
    costs = sorted(sign * value for value in found if math.isfinite(value))
    if not costs or costs[0] == costs[-1]:
        return False
    best, middle, worst = costs[0], costs[len(costs) // 2], costs[-1]
    reach = best + _REACH * (middle - best)
    kept = [sign * value for value in keep if math.isfinite(value)]
    limit = max([reach, *kept]) if middle > best and worst > reach else worst
    room = 0.06 * (limit - best)
    axes.set_ylim(*sorted((sign * (best - room), sign * (limit + room))))
    return worst > limit + room


def svg(figure: Figure, salt: str) -> str:
    """Writes a figure as an element of a page, in the page's colours and font."""
    buffer = io.StringIO()
    # Several drawings share a page: the salt keeps their ids apart.
    with rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        # Text is not drawn here but by the reader's browser, which has more fonts.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Elements such as figure_1 have the same id in each drawing.
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text
