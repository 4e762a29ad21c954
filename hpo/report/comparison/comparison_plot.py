"""Comparison plot: the best value of several studies over trials, epochs and hours."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.report.comparison.study_comparison import Comparison, Contestant
from hpo.report.text.printable import cell

# Okabe and Ito's palette for colour-blind readers.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES: Final = ("-", "--", ":", "-.")
_LONGEST_NAME: Final = 40
_FAR: Final = 8.0
"""First values are off the axis if they are this many times as far from the best as the median."""


@rc_context({"text.parse_math": False})
def comparison_plot(found: Comparison) -> Figure:
    """Draws the best value so far of each study.

    Returns:
        A panel each for trials, epochs and hours; without epochs, two panels.
    """
    kinds = (
        ["trials", "epochs", "hours"]
        if any(c.n_epochs for c in found.contestants)
        else [
            "trials",
            "hours",
        ]
    )
    figure = Figure(figsize=(4.4 * len(kinds) + 0.6, 4.2), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    subject = found.contestants[0].subject
    unit, time = _scale(found)
    for axes, kind in zip(panels, kinds, strict=True):
        for i, contestant in enumerate(found.contestants):
            _draw(axes, contestant, kind, i, unit if kind == "hours" else 1.0)
        axes.set_xlabel({"trials": "trials that have ended", "hours": time}.get(kind, kind))
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if kind != "hours":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel(f"best {cell(subject.metric, _LONGEST_NAME)}")
    _bound(panels[0], found)
    panels[-1].legend(framealpha=0.8, edgecolor="none")
    return figure


def _draw(axes: Axes, contestant: Contestant, kind: str, i: int, unit: float) -> None:
    name = cell(contestant.subject.name, _LONGEST_NAME)
    x = [getattr(each, kind) / unit for each in contestant.improvements]
    y = [each.value for each in contestant.improvements]
    if not x:
        axes.plot([], [], color=_COLOURS[i % len(_COLOURS)], label=f"{name} (no value)")
        return
    ends = {
        "trials": contestant.counts.finished,
        "epochs": contestant.n_epochs,
        "hours": contestant.hours,
    }
    # The best value holds to the end of the study.
    x, y = [*x, max(x[-1], ends[kind] / unit)], [*y, y[-1]]
    style = _STYLES[i // len(_COLOURS) % len(_STYLES)]
    axes.step(x, y, where="post", color=_COLOURS[i % len(_COLOURS)], linestyle=style, label=name)


def _bound(axes: Axes, found: Comparison) -> None:
    """Leaves first values off the axis that are far from all others; each best one stays on it."""
    values = [e.value for c in found.contestants for e in c.improvements if np.isfinite(e.value)]
    bests = [c.best.value for c in found.contestants if c.best and np.isfinite(c.best.value)]
    if len(values) < 3:
        return
    up = found.contestants[0].subject.direction == "maximize"
    best = max(values) if up else min(values)
    gaps = np.abs(np.asarray(values) - best)
    reach = max(_FAR * float(np.median(gaps)), 1.1 * max(abs(value - best) for value in bests))
    if 0 < reach < gaps.max():
        near, far = (0.05 * reach, -reach) if up else (-0.05 * reach, reach)
        low, high = sorted((best + near, best + far))
        axes.set_ylim(low, high)


def _scale(found: Comparison) -> tuple[float, str]:
    """Returns the unit of time that fits the longest study, in hours, and its name."""
    longest = max(contestant.hours for contestant in found.contestants)
    for hours, name in ((1.0, "hours"), (1 / 60, "minutes")):
        if longest >= 2 * hours:
            return hours, name
    return 1 / 3600, "seconds"
