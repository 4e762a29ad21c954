"""The timeline of workers and the chart of a budget, from logs of what happened."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from hpo.errors import HpoError
from hpo.report.plots.budget_chart import budget
from hpo.report.plots.chart import Bars, Chart, Dots, Line
from hpo.report.plots.spending_log import SpendingLog
from hpo.report.plots.timeline import timeline
from hpo.report.plots.work_log import Loss, Stretch, WorkLog
from hpo.report.study_queries import Subject

START = datetime(2026, 1, 1, 12)
SUBJECT = Subject(1, "s", "active", ("maximize",), ("val_accuracy",))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def stretch(
    number: int, worker: int | None, start: float, end: float, *, attempt: int = 1
) -> Stretch:
    return Stretch(number, "COMPLETE", attempt, worker, at(start), at(end), n_epochs=3)


def bars_of(chart: Chart) -> dict[str, Bars]:
    return {mark.label: mark for mark in chart.panels[0].marks if isinstance(mark, Bars)}


def test_each_worker_has_a_row_for_each_trial_that_it_trains_at_once() -> None:
    stretches = [
        stretch(0, 1, 0, 10),
        stretch(1, 1, 2, 6),
        stretch(2, 1, 7, 9),
        stretch(3, 2, 0, 4),
    ]
    log = WorkLog(stretches, [], {1: "gpu-box, cuda:0", 2: "gpu-box, cuda:1"}, 4, 4)
    chart = timeline(SUBJECT, log)
    (bars,) = bars_of(chart).values()
    rows = dict(zip(bars.notes, bars.ys, strict=True))
    of = [next(y for note, y in rows.items() if note.startswith(f"trial {n},")) for n in range(4)]
    assert of[1] == of[2] != of[0]
    assert of[3] not in of[:3]
    assert list(bars.starts) == [0, 2, 7, 0]
    assert list(bars.widths) == [10, 4, 2, 4]
    labels = [text for _, text in chart.panels[0].rows]
    assert labels == ["worker 1 (gpu-box, cuda:0)", "worker 2 (gpu-box, cuda:1)"]


def test_a_lost_worker_and_the_second_attempt_are_seen() -> None:
    stretches = [stretch(0, 1, 0, 100), stretch(0, 2, 200, 900, attempt=2)]
    log = WorkLog(stretches, [Loss(1, 0, at(120), "its process is gone")], {}, 500, 1)
    chart = timeline(SUBJECT, log)
    bars = bars_of(chart)
    assert bars["complete"].is_hatched is False
    assert bars["complete, resumed after a loss"].is_hatched is True
    (cross,) = (mark for mark in chart.panels[0].marks if isinstance(mark, Dots))
    assert list(cross.xs) == [2.0]  # minutes
    assert list(cross.notes) == ["trial 0: its process is gone"]
    assert chart.note.startswith("the last 1 of 500 trials")


def test_a_budget_is_spent_on_what_became_of_the_trials() -> None:
    log = SpendingLog(
        epochs=[
            (at(1), "COMPLETE", 1, 2.0),
            (at(2), "PRUNED", 1, 4.0),
            (at(9), "COMPLETE", 3, 6.0),
        ],
        ends=[(at(3), "PRUNED"), (at(10), "COMPLETE")],
        total_epochs=20,
        n_trials=None,
        is_exact=True,
    )
    chart = budget(SUBJECT, log)
    epochs, ended = ({m.label: m for m in p.marks if isinstance(m, Line)} for p in chart.panels)
    assert {label: line.ys[-1] for label, line in epochs.items()} == {
        "budget": 20,
        "all": 5,
        "complete": 4,
        "stopped early": 1,
    }
    assert list(epochs["complete"].xs) == [0.0, 0.0, 8.0, 9.0]
    assert {label: line.ys[-1] for label, line in ended.items()} == {
        "all": 2,
        "complete": 1,
        "stopped early": 1,
    }
    assert chart.note == "training: 12 s, summed over trials; 4 s of trials that were stopped early"


def test_a_study_that_has_not_begun_has_neither() -> None:
    with pytest.raises(HpoError, match="no trial has started"):
        timeline(SUBJECT, WorkLog([], [], {}, 0, 0))
    with pytest.raises(HpoError, match="no epoch was reported"):
        budget(SUBJECT, SpendingLog([], [], None, None, True))
