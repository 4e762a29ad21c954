"""Learning charts: metrics over the epochs of trials, and the values of the trials of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from hpo.report.learning_curves import Curve, Value
from hpo.report.plots.chart import COLOURS, PALE, Chart, Dots, Line, Mark, Panel
from hpo.report.plots.plotted_trials import reach
from hpo.report.plots.texts import short
from hpo.report.study_queries import Subject
from hpo.report.text.formatting import number as written
from hpo.store.studies.trial_states import FINISHED

_PARTS: Final = {"train": ("training", True), "val": ("validation", False)}
_MOST_DOTS: Final = 5_000


def curves(subject: Subject, found: Sequence[Curve], chosen: Sequence[int]) -> Chart:
    """Shows metrics over epochs: the chosen trials in full, behind them the others' objective.

    Args:
        subject: The study.
        found: Curves of its trials, including the chosen ones.
        chosen: Numbers of the trials that are distinguished by colour.

    Returns:
        A panel for the objective, and one for the loss if that is another metric.
    """
    main = _kind(subject.metrics[0])
    own = [curve for curve in found if curve.number in chosen]
    kinds = [kind for kind in dict.fromkeys((main, "loss")) if _has(own, kind)]
    n_others = len(found) - len(own)
    others = f", and {n_others} other{'s' * (n_others > 1)} in grey" if n_others else ""
    trials = ", ".join(map(str, chosen))
    return Chart(
        title=f"{short(subject.name)}: trial{'s' * (len(own) > 1)} {trials}{others}",
        panels=[_curve_panel(subject, found, own, kind) for kind in kinds],
    )


def _curve_panel(
    subject: Subject, found: Sequence[Curve], own: Sequence[Curve], kind: str
) -> Panel:
    metric = subject.metrics[0]
    names = sorted({name for curve in own for name in curve.points if _kind(name) == kind})
    behind = [
        curve.points[metric]
        for curve in found
        if kind == _kind(metric) and curve not in own and metric in curve.points
    ]
    marks: list[Mark] = []
    for i, curve in enumerate(own):
        whose = f"trial {curve.number}, " if len(own) > 1 else ""
        for name in names:
            if name in curve.points:
                what, is_dashed = _PARTS.get(
                    name.partition("_")[0], (short(name.replace("_", " ")), False)
                )
                xs, ys = curve.points[name]
                colour = COLOURS[i % len(COLOURS)]
                marks.append(Line(xs, ys, f"{whose}{what}", colour, is_dashed=is_dashed))
    lines = [curve.points[name][1] for curve in own for name in names if name in curve.points]
    return Panel(
        x_label="epoch",
        y_label=short(kind.replace("_", " ")),
        marks=marks,
        behind=behind,
        y_range=bounds(
            [value for line in lines for value in line],
            _sign(subject, kind),
            ends=[line[-1] for line in lines],
        ),
        has_whole_x=True,
    )


def history(subject: Subject, found: Sequence[Value]) -> Chart:
    """Shows the value of each trial, and the best one so far.

    Args:
        subject: The study.
        found: Its trials that have values, by number.

    Returns:
        A panel for each objective.
    """
    n = len(subject.metrics)
    return Chart(
        title=f"{short(subject.name)}: {len(found):,} trial{'s' * (len(found) != 1)}",
        panels=[_history_panel(subject, found, i) for i in range(n)],
        note="a sample of the trials" if len(found) > _MOST_DOTS else "",
        panel_width=8.0 if n == 1 else 6.0,
    )


def _history_panel(subject: Subject, found: Sequence[Value], index: int) -> Panel:
    sign = 1.0 if subject.directions[index] == "minimize" else -1.0
    valued = [trial for trial in found if index < len(trial.values)]
    kinds = (
        ("stopped early: its last value", PALE, False, FINISHED[1:]),
        ("paused: its last value", COLOURS[4], False, ("PAUSED", "WAITING", "RUNNING")),
        ("complete", COLOURS[0], True, FINISHED[:1]),
    )
    marks: list[Mark] = []
    for label, colour, is_filled, states in kinds:
        some = [trial for trial in valued if trial.state in states]
        # Every n-th of many: a page with tens of thousands of dots is slow.
        some = some[:: max(1, -(-len(some) // _MOST_DOTS))]
        if some:
            xs = [trial.number for trial in some]
            ys = [trial.values[index] for trial in some]
            notes = [f"trial {x}: {written(y)}" for x, y in zip(xs, ys, strict=True)]
            marks.append(Dots(xs, ys, label, colour, is_filled, notes=notes))
    complete = [(t.number, t.values[index]) for t in valued if t.state == "COMPLETE"]
    marks += _staircase(complete, sign, max((t.number for t in found), default=0))
    return Panel(
        x_label="trial",
        y_label=short(subject.metrics[index].replace("_", " ")),
        marks=marks,
        y_range=bounds([trial.values[index] for trial in valued], sign),
        has_whole_x=True,
    )


def _staircase(found: Sequence[tuple[int, float]], sign: float, last: int) -> list[Line]:
    steps: list[tuple[int, float]] = []
    for number, value in found:
        if not math.isnan(value) and (not steps or sign * value < sign * steps[-1][1]):
            steps.append((number, value))
    if not steps:
        return []
    numbers, heights = zip(*steps, (last, steps[-1][1]), strict=True)
    label = f"best so far: {written(heights[-1])}"
    return [Line(numbers, heights, label, COLOURS[1], is_step=True)]


def bounds(
    found: Iterable[float], sign: float, ends: Sequence[float] = ()
) -> tuple[float, float] | None:
    """Returns bounds of an axis that leave diverged values out, which would squeeze the others.

    Args:
        found: All values.
        sign: 1 if lower is better, -1 if higher is better.
        ends: Values that must stay visible.
    """
    costs = sorted(sign * value for value in found if math.isfinite(value))
    if not costs:
        return None
    best = costs[0]
    limit = max([reach(costs), *(sign * end for end in ends if math.isfinite(end))])
    worst = min(costs[-1], limit)
    room = 0.05 * (worst - best) or 0.05 * abs(best) or 0.05
    low, high = sorted((sign * (best - room), sign * (worst + room)))
    return low, high


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
