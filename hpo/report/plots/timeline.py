"""Timeline: what each worker of a study trained when, with attempts and lost workers."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from hpo.errors import HpoError
from hpo.report.plots.chart import COLOURS, FAILED, PALE, Bars, Chart, Dots, Mark, Panel
from hpo.report.plots.texts import short
from hpo.report.plots.work_log import Stretch, WorkLog
from hpo.report.study_queries import Subject
from hpo.report.text.formatting import duration

_STATES: Final = {
    "COMPLETE": ("complete", COLOURS[0]),
    "PRUNED": ("stopped early", PALE),
    "PAUSED": ("paused", COLOURS[4]),
    "WAITING": ("interrupted", COLOURS[3]),
    "RUNNING": ("running", COLOURS[2]),
    "FAIL": ("failed", FAILED),
}
_UNITS: Final = ((172_800.0, "days", 86_400.0), (7_200.0, "hours", 3_600.0), (180.0, "minutes", 60))
_GAP: Final = 0.6
"""Rows between two workers."""
_ROW: Final = 0.22
"""Height of a row in inches."""
_HEIGHTS: Final = (2.8, 11.0)

Row = tuple[float, Stretch]


def timeline(subject: Subject, log: WorkLog) -> Chart:
    """Shows the time of each worker, a row for each trial that it trained at once.

    Raises:
        HpoError: No trial has started yet.
    """
    if not log.stretches:
        raise HpoError(
            f"{subject.name} has nothing to plot yet: no trial has started",
            hint=f"see `hpo show {subject.name}`",
        )
    first = min(stretch.start for stretch in log.stretches)
    unit, size = unit_of((max(stretch.end for stretch in log.stretches) - first).total_seconds())
    rows, labels, n_rows = _rows(log)
    tops = {worker: top for worker, top, _ in labels}
    marks: list[Mark] = [*_bars(rows, first, size), *_crosses(log, tops, first, size)]
    low, high = _HEIGHTS
    return Chart(
        title=f"{short(subject.name)}: what its workers trained",
        panels=[
            Panel(
                x_label=f"{unit} since {first:%Y-%m-%d %H:%M:%S} UTC",
                y_label="",
                marks=marks,
                rows=[(y, _name(worker, log.workers)) for worker, _, y in labels],
                y_range=(-n_rows, 1.0),
            )
        ],
        note=_note(log),
        height=min(high, max(low, 1.6 + _ROW * n_rows)),
        panel_width=10.0,
    )


def unit_of(seconds: float) -> tuple[str, float]:
    """Returns the unit of time that fits an axis, and its seconds."""
    for least, name, size in _UNITS:
        if seconds >= least:
            return name, size
    return "seconds", 1.0


def _rows(log: WorkLog) -> tuple[list[Row], list[tuple[int | None, float, float]], float]:
    """Puts stretches into rows, so that none hides another.

    Returns:
        Each stretch with its row, counted downwards; each worker with its first row and the middle
        of its rows; and the number of all rows.
    """
    of_worker: dict[int | None, list[Stretch]] = defaultdict(list)
    for stretch in log.stretches:
        of_worker[stretch.worker_id].append(stretch)
    found: list[Row] = []
    labels: list[tuple[int | None, float, float]] = []
    top = 0.0
    for worker in sorted(of_worker, key=lambda each: (each is None, each or 0)):
        lanes = _lanes(of_worker[worker])
        found += [(-(top + lane), stretch) for lane, stretch in lanes]
        n = 1 + max(lane for lane, _ in lanes)
        labels.append((worker, -top, -(top + (n - 1) / 2)))
        top += n + _GAP
    return found, labels, top


def _lanes(stretches: Iterable[Stretch]) -> list[tuple[int, Stretch]]:
    free: list[int] = []
    busy: list[tuple[datetime, int]] = []
    found = []
    n = 0
    for stretch in sorted(stretches, key=lambda each: (each.start, each.number)):
        while busy and busy[0][0] <= stretch.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, n = n, n + 1
        heapq.heappush(busy, (stretch.end, lane))
        found.append((lane, stretch))
    return found


def _bars(rows: Sequence[Row], first: datetime, size: float) -> list[Bars]:
    groups: dict[tuple[str, bool], list[Row]] = defaultdict(list)
    for y, stretch in rows:
        groups[stretch.state, stretch.attempt > 1].append((y, stretch))
    found = []
    for state, (label, colour) in _STATES.items():
        for is_again in (False, True):
            some = groups.get((state, is_again))
            if some:
                found.append(
                    Bars(
                        ys=[y for y, _ in some],
                        starts=[(s.start - first).total_seconds() / size for _, s in some],
                        widths=[(s.end - s.start).total_seconds() / size for _, s in some],
                        label=f"{label}, resumed after a loss" if is_again else label,
                        colour=colour,
                        notes=[_describe(stretch) for _, stretch in some],
                        is_hatched=is_again,
                    )
                )
    return found


def _crosses(
    log: WorkLog, tops: Mapping[int | None, float], first: datetime, size: float
) -> list[Dots]:
    lost = [loss for loss in log.losses if loss.worker_id in tops]
    if not lost:
        return []
    return [
        Dots(
            xs=[(loss.at - first).total_seconds() / size for loss in lost],
            ys=[tops[loss.worker_id] for loss in lost],
            label="worker lost",
            colour=FAILED,
            is_cross=True,
            notes=[f"trial {loss.number}: {loss.message}" for loss in lost],
        )
    ]


def _describe(stretch: Stretch) -> str:
    text = f"trial {stretch.number}, {_STATES[stretch.state][0]}"
    if stretch.attempt > 1:
        text += f", attempt {stretch.attempt}"
    if stretch.n_epochs:
        text += f", {stretch.n_epochs} epoch{'s' * (stretch.n_epochs != 1)}"
    return f"{text}, {duration((stretch.end - stretch.start).total_seconds())}"


def _name(worker: int | None, workers: Mapping[int, str]) -> str:
    if worker is None:
        return "unknown worker" if workers else "trials"
    return (
        f"worker {worker} ({short(workers[worker])})" if worker in workers else f"worker {worker}"
    )


def _note(log: WorkLog) -> str:
    n = log.n_shown
    text = f"{n:,} trial{'s' * (n != 1)}"
    if n < log.n_trials:
        text = f"the last {n:,} of {log.n_trials:,} trials"
    return f"{text}; a row for each trial that a worker trains at once"
