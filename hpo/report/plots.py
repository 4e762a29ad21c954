"""Plots of a study, drawn by matplotlib without opening a window."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.report.learning_curves import Curve, Value
from hpo.report.study_queries import Subject
from hpo.report.text.formatting import number as written
from hpo.report.text.printable import cell
from hpo.report.trial_states import FINISHED

# Okabe and Ito's palette for colour-blind readers.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_PALE: Final = "#B0B0B0"
_PARTS: Final = {"train": ("training", "--"), "val": ("validation", "-")}
# Values this many times as far from the best as the median are off the axis.
_REACH: Final = 8.0
# Only values further away than this times that are left off.
_FAR: Final = 3.0
_LONGEST_NAME: Final = 60
_LEGEND: Final = {"framealpha": 0.8, "edgecolor": "none"}


# A dollar sign in a name does not start a formula.
@rc_context({"text.parse_math": False})
def curves(subject: Subject, found: Sequence[Curve], chosen: Sequence[int]) -> Figure:
    """Draws metrics over epochs: the chosen trials in full, behind them the others' objective.

    Args:
        subject: The study.
        found: Curves of its trials, including the chosen ones.
        chosen: Numbers of the trials that are distinguished by colour.

    Returns:
        A panel for the objective, and one for the loss if that is another metric.
    """
    main = subject.metrics[0]
    own = [curve for curve in found if curve.number in chosen]
    kinds = [kind for kind in dict.fromkeys((_kind(main), "loss")) if _has(own, kind)]
    figure = Figure(figsize=(5.2 * len(kinds) + 0.8, 4.2), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        shown = {name for curve in own for name in curve.points if _kind(name) == kind}
        if kind == _kind(main):
            _behind(axes, [curve for curve in found if curve not in own], main)
        for i, curve in enumerate(own):
            _draw(axes, curve, sorted(shown), _COLOURS[i % len(_COLOURS)], len(own) > 1)
        _label(axes, "epoch", kind.replace("_", " "))
        lines = [curve.points[name][1] for curve in own for name in shown & curve.points.keys()]
        values = [value for line in lines for value in line]
        _bound(axes, values, _sign(subject, kind), ends=[line[-1] for line in lines])
        axes.legend(**_LEGEND)
    n_others = len(found) - len(own)
    others = f", and {n_others} other{'s' * (n_others > 1)} in grey" if n_others else ""
    trials = ", ".join(map(str, chosen))
    figure.suptitle(f"{_named(subject.name)}: trial{'s' * (len(own) > 1)} {trials}{others}")
    return figure


@rc_context({"text.parse_math": False})
def history(subject: Subject, found: Sequence[Value]) -> Figure:
    """Draws the value of each trial, and the best one so far.

    Args:
        subject: The study.
        found: Its trials that have values, by number.

    Returns:
        A panel for each objective.
    """
    n = len(subject.metrics)
    figure = Figure(figsize=(5.2 * n + 2.8, 4.2), layout="constrained")
    for i, axes in enumerate(figure.subplots(1, n, squeeze=False)[0]):
        sign = 1.0 if subject.directions[i] == "minimize" else -1.0
        complete = [(t.number, t.values[i]) for t in found if t.state == "COMPLETE"]
        pruned = [(t.number, t.values[i]) for t in found if t.state in FINISHED[1:]]
        unfinished = [(t.number, t.values[i]) for t in found if t.state not in FINISHED]
        _dots(axes, pruned, "stopped early: its last value", _PALE, filled=False)
        _dots(axes, unfinished, "paused: its last value", _COLOURS[4], filled=False)
        _dots(axes, complete, "complete", _COLOURS[0], filled=True)
        _staircase(axes, complete, sign, max((t.number for t in found), default=0))
        _label(axes, "trial", subject.metrics[i].replace("_", " "))
        _bound(axes, [value for _, value in (*complete, *pruned, *unfinished)], sign)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(**_LEGEND)
    figure.suptitle(f"{_named(subject.name)}: {len(found)} trial{'s' * (len(found) != 1)}")
    return figure


def _named(name: str) -> str:
    # Fonts of plots have no symbols for control characters.
    return re.sub("[\u2400-\u2421]", "\N{REPLACEMENT CHARACTER}", cell(name, _LONGEST_NAME))


def _kind(name: str) -> str:
    """Returns a metric's name without its split, such as ``val_``."""
    part, _, kind = name.partition("_")
    return kind if part in _PARTS else name


def _has(found: Iterable[Curve], kind: str) -> bool:
    return any(_kind(name) == kind for curve in found for name in curve.points)


def _sign(subject: Subject, kind: str) -> float:
    """Returns 1 if lower is better, -1 if higher is better."""
    is_highest = kind == _kind(subject.metrics[0]) and subject.direction == "maximize"
    return -1.0 if is_highest else 1.0


def _behind(axes: Axes, others: Sequence[Curve], metric: str) -> None:
    lines = [
        list(zip(*curve.points[metric], strict=True)) for curve in others if metric in curve.points
    ]
    axes.add_collection(LineCollection(lines, colors=_PALE, linewidths=0.6, alpha=0.5))
    ends = [line[-1] for line in lines if len(line) == 1]
    axes.plot([x for x, _ in ends], [y for _, y in ends], ".", color=_PALE, markersize=2, alpha=0.5)
    axes.autoscale_view()


def _draw(axes: Axes, curve: Curve, names: Sequence[str], colour: str, is_one_of: bool) -> None:
    whose = f"trial {curve.number}, " if is_one_of else ""
    for name in names:
        if name not in curve.points:
            continue
        epochs, line = curve.points[name]
        what, style = _PARTS.get(name.partition("_")[0], (_named(name.replace("_", " ")), "-"))
        # A line of a single epoch is invisible.
        marker = "o" if len(epochs) == 1 else ""
        label = f"{whose}{what}"
        axes.plot(epochs, line, style, color=colour, label=label, marker=marker, linewidth=1.8)


def _dots(
    axes: Axes, found: Sequence[tuple[int, float]], label: str, colour: str, *, filled: bool
) -> None:
    if found:
        numbers, heights = zip(*found, strict=True)
        face = colour if filled else "none"
        axes.scatter(numbers, heights, s=14, facecolors=face, edgecolors=colour, label=label)


def _staircase(axes: Axes, found: Sequence[tuple[int, float]], sign: float, last: int) -> None:
    steps: list[tuple[int, float]] = []
    for number, value in found:
        if not math.isnan(value) and (not steps or sign * value < sign * steps[-1][1]):
            steps.append((number, value))
    if steps:
        numbers, heights = zip(*steps, (last, steps[-1][1]), strict=True)
        label = f"best so far: {written(heights[-1])}"
        axes.plot(numbers, heights, drawstyle="steps-post", color=_COLOURS[1], label=label)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(_named(y))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _bound(axes: Axes, found: Iterable[float], sign: float, ends: Sequence[float] = ()) -> None:
    """Leaves diverged values off the axis, which would squeeze the others to its edge.

    Args:
        axes: Whose vertical axis is bounded.
        found: All values.
        sign: 1 if lower is better, -1 if higher is better.
        ends: Values that must stay visible.
    """
    costs = sorted(sign * value for value in found if math.isfinite(value))
    if not costs:
        return
    best, middle = costs[0], costs[len(costs) // 2]
    reach = best + _REACH * (middle - best) if middle > best else costs[-1]
    if costs[-1] - best < _FAR * (reach - best):
        reach = costs[-1]
    worst = min(costs[-1], max(reach, *(sign * end for end in ends if math.isfinite(end)), reach))
    room = 0.05 * (worst - best) or 0.05 * abs(best) or 0.05
    low, high = sorted((sign * (best - room), sign * (worst + room)))
    axes.set_ylim(low, high)
