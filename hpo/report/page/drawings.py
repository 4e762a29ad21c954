"""Drawings of a report: its history, curves, parameters and Pareto front as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from hpo.report.learning_curves import Curve
from hpo.report.page import drawing_parts
from hpo.report.page.influence import Influence, is_number
from hpo.report.page.sentences import name_of
from hpo.report.page.study_report import StudyReport
from hpo.report.study_queries import Subject
from hpo.spec.space.dimensions import Float, Int
from hpo.spec.study_spec import StudySpec
from hpo.store.studies.trial_states import FINISHED

_MOST_CURVES: Final = 120
_MOST_PANELS: Final = 3
_SPAN_OF_LOG: Final = 50.0


@dataclass(frozen=True)
class Drawing:
    """A drawing; false if there is nothing to draw.

    Attributes:
        svg: An element of a page.
        is_cut: Whether values far from the best are beyond its axis.
    """

    svg: str = ""
    is_cut: bool = False

    def __bool__(self) -> bool:
        return bool(self.svg)


def history(report: StudyReport) -> Drawing:
    """Draws the value of each trial and the best so far; a panel for each objective."""
    if not report.values:
        return Drawing()
    with rc_context(drawing_parts.SETTINGS):
        figure, axes_of = drawing_parts.figure(min(_MOST_PANELS, len(report.subject.metrics)), 3.0)
        cut = [_draw_history(axes, report, i) for i, axes in enumerate(axes_of)]
        return Drawing(drawing_parts.svg(figure, "history"), any(cut))


def curves(report: StudyReport) -> Drawing:
    """Draws the curves of the best trial, and the objective of the others behind them."""
    metric = report.subject.metrics[0]
    best = None if report.chosen is None else report.chosen.number
    lines = [curve for curve in report.curves if metric in curve.points]
    if not any(len(curve.points[metric][0]) > 1 for curve in lines):
        return Drawing()
    own = next((curve for curve in lines if curve.number == best), None)
    step = max(1, -(-len(lines) // _MOST_CURVES))
    others = [curve for curve in lines[::step] if curve is not own]
    kinds = [_kind(metric)]
    if own is not None and kinds != ["loss"] and _of(own, "loss"):
        kinds.append("loss")
    with rc_context(drawing_parts.SETTINGS):
        figure, axes_of = drawing_parts.figure(len(kinds), 3.0)
        cut = []
        for axes, kind in zip(axes_of, kinds, strict=True):
            is_main = kind == kinds[0]
            behind = others if is_main else []
            cut.append(_draw_curves(axes, report.subject, own, behind, kind))
        return Drawing(drawing_parts.svg(figure, "curves"), any(cut))


def _draw_curves(
    axes: Axes, subject: Subject, own: Curve | None, behind: Sequence[Curve], kind: str
) -> bool:
    metric = subject.metrics[0]
    shown = [y for curve in behind for y in curve.points[metric][1]]
    if behind:
        _draw_others(axes, behind, metric)
    lines = [] if own is None else [own.points[name][1] for name in _of(own, kind)]
    if own is not None:
        _draw_own(axes, own, kind)
    drawing_parts.label(axes, "epoch", kind.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawing_parts.legend(axes)
    is_up = kind == _kind(metric) and subject.direction == "maximize"
    values = [y for line in lines for y in line]
    ends = [line[-1] for line in lines]
    return drawing_parts.bound(axes, [*shown, *values], -1.0 if is_up else 1.0, ends)


def params(report: StudyReport, influence: Influence) -> Drawing:
    """Draws the values over the parameters with the most influence."""
    given, spec = influence.trials, report.subject.spec
    best = None if report.chosen is None else report.chosen.number
    names = [param.name for param in influence.visible[:_MOST_PANELS]]
    if not names:
        return Drawing()
    with rc_context(drawing_parts.SETTINGS):
        figure, axes_of = drawing_parts.figure(len(names), 2.7, share_y=True)
        for axes, name in zip(axes_of, names, strict=True):
            found = [
                (row[name], value, number)
                for row, value, number in zip(
                    given.params, given.values, given.numbers, strict=True
                )
                if name in row
            ]
            is_log = _is_log(spec, name, [x for x, _, _ in found])
            _draw_param(axes, found, best, is_log=is_log)
            drawing_parts.label(axes, name, given.metric if axes is axes_of[0] else "")
        sign = -1.0 if given.direction == "maximize" else 1.0
        is_cut = drawing_parts.bound(axes_of[0], given.values, sign)
        return Drawing(drawing_parts.svg(figure, f"params{given.metric}"), is_cut)


def front(report: StudyReport) -> Drawing:
    """Draws the Pareto front of two objectives; empty for another number of them."""
    subject = report.subject
    if len(subject.metrics) != 2 or not report.best:
        return Drawing()
    on_front = {row.number for row in report.best}
    done = [value for value in report.values if value.state == "COMPLETE"]
    finite = [value for value in done if all(map(math.isfinite, value.values))]
    behind = drawing_parts.thinned([value for value in finite if value.number not in on_front])
    best = sorted(value.values for value in finite if value.number in on_front)
    with rc_context(drawing_parts.SETTINGS):
        figure, (axes,) = drawing_parts.figure(1, 3.6)
        drawing_parts.dots(
            axes, [value.values for value in behind], "other complete trials", drawing_parts.OTHER
        )
        axes.plot(*zip(*best, strict=True), color=drawing_parts.ACCENT, linewidth=1, alpha=0.5)
        drawing_parts.dots(axes, best, "best compromises", drawing_parts.ACCENT, size=30)
        drawing_parts.label(
            axes, *(f"{m} ({d})" for m, d in zip(subject.metrics, subject.directions, strict=True))
        )
        drawing_parts.legend(axes)
        return Drawing(drawing_parts.svg(figure, "front"))


def _draw_history(axes: Axes, report: StudyReport, i: int) -> bool:
    subject = report.subject
    sign = 1.0 if subject.directions[i] == "minimize" else -1.0
    points = [(v.number, v.values[i], v.state) for v in report.values if len(v.values) > i]
    points = [point for point in points if math.isfinite(point[1])]
    complete = [(x, y) for x, y, state in points if state == "COMPLETE"]
    pruned = [(x, y) for x, y, state in points if state in FINISHED[1:]]
    unfinished = [(x, y) for x, y, state in points if state not in FINISHED]
    drawing_parts.dots(
        axes,
        drawing_parts.thinned(pruned),
        "stopped early (last value)",
        drawing_parts.OTHER,
        filled=False,
    )
    drawing_parts.dots(
        axes,
        drawing_parts.thinned(unfinished),
        "paused (last value)",
        drawing_parts.FAINT,
        filled=False,
    )
    drawing_parts.dots(axes, drawing_parts.thinned(complete), "complete", drawing_parts.MAIN)
    steps: list[tuple[int, float]] = []
    for x, y in complete:
        if not steps or sign * y < sign * steps[-1][1]:
            steps.append((x, y))
    if steps:
        end = (max(x for x, _, _ in points), steps[-1][1])
        xs, ys = zip(*steps, end, strict=True)
        axes.plot(
            xs,
            ys,
            drawstyle="steps-post",
            color=drawing_parts.ACCENT,
            linewidth=1.6,
            label="best so far",
        )
    drawing_parts.label(axes, "trial", subject.metrics[i])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawing_parts.legend(axes)
    return drawing_parts.bound(axes, [y for _, y, _ in points], sign)


def _draw_others(axes: Axes, others: Sequence[Curve], metric: str) -> None:
    lines = [list(zip(*curve.points[metric], strict=True)) for curve in others]
    label = "other trials"
    axes.add_collection(
        LineCollection(lines, colors=drawing_parts.OTHER, linewidths=0.7, alpha=0.7, label=label)
    )
    ends = [line[0] for line in lines if len(line) == 1]
    drawing_parts.dots(axes, ends, "", drawing_parts.OTHER, size=4)
    axes.autoscale_view()


def _draw_own(axes: Axes, own: Curve, kind: str) -> None:
    for name in _of(own, kind):
        part = name.partition("_")[0]
        what = {"train": ", training", "val": ", validation"}.get(part, "")
        style, colour = (
            ("--", drawing_parts.MAIN) if part == "train" else ("-", drawing_parts.ACCENT)
        )
        epochs, values = own.points[name]
        label = f"trial {own.number}{what}"
        marker = "o" if len(epochs) == 1 else ""
        axes.plot(epochs, values, style, color=colour, label=label, linewidth=1.8, marker=marker)


def _is_log(spec: StudySpec | None, name: str, values: Sequence[Any]) -> bool:
    """Returns whether a parameter is drawn on a logarithmic scale."""
    if not all(is_number(value) and value > 0 for value in values):
        return False
    if spec is not None and name in spec.space.names:
        dimension = spec.space[name]
        return isinstance(dimension, Float | Int) and dimension.log
    # Of an objective's parameter only the values are known.
    return bool(max(values) >= _SPAN_OF_LOG * min(values))


def _draw_param(
    axes: Axes, found: Sequence[tuple[Any, float, int]], best: int | None, *, is_log: bool
) -> None:
    if all(is_number(x) for x, _, _ in found):
        points = [(float(x), y, number) for x, y, number in found]
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
    else:
        choices = sorted({str(x) for x, _, _ in found})
        # Trials with the same choice are drawn beside one another.
        points = [
            (choices.index(str(x)) + ((number * 0.618) % 1 - 0.5) * 0.4, y, number)
            for x, y, number in found
        ]
        axes.set_xticks(range(len(choices)), [name_of(choice)[:12] for choice in choices])
    drawing_parts.dots(axes, [(x, y) for x, y, n in points if n != best], "", drawing_parts.MAIN)
    drawing_parts.dots(
        axes, [(x, y) for x, y, n in points if n == best], "", drawing_parts.ACCENT, size=46
    )


def _kind(name: str) -> str:
    """Returns a metric's name without its split, such as ``val_``."""
    part, _, kind = name.partition("_")
    return kind if part in ("train", "val") and kind else name


def _of(curve: Curve, kind: str) -> list[str]:
    return sorted(name for name in curve.points if _kind(name) == kind)
