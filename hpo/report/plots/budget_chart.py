"""Budget chart: how a study spent its epochs and trials over time, and on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from hpo.errors import HpoError
from hpo.report.plots.chart import COLOURS, FAILED, PALE, Chart, Line, Mark, Panel
from hpo.report.plots.spending_log import SpendingLog
from hpo.report.plots.texts import short
from hpo.report.plots.timeline import unit_of
from hpo.report.study_queries import Subject
from hpo.report.text.formatting import duration

_STATES: Final = {
    ("COMPLETE",): ("complete", COLOURS[0]),
    ("PRUNED",): ("stopped early", "#888888"),
    ("PAUSED", "WAITING"): ("paused", COLOURS[4]),
    ("RUNNING",): ("running", COLOURS[2]),
    ("FAIL",): ("failed", FAILED),
}
_ALL: Final = "#222222"
_MOST_POINTS: Final = 1_500
"""Points of a line; more cannot be seen."""

Amounts = Sequence[tuple[datetime, str, float]]


def budget(subject: Subject, log: SpendingLog) -> Chart:
    """Shows the epochs that were spent, and the trials that ended, by what became of them.

    Raises:
        HpoError: Nothing was spent yet.
    """
    times = [at for at, *_ in (*log.epochs[:1], *log.epochs[-1:])]
    times += [at for at, _ in (*log.ends[:1], *log.ends[-1:])]
    if not times:
        raise HpoError(
            f"{subject.name} has nothing to plot yet: no epoch was reported",
            hint=f"see `hpo show {subject.name}`",
        )
    first, last = min([*times, subject.created_at or times[0]]), max(times)
    unit, size = unit_of((last - first).total_seconds())

    def since(at: datetime) -> float:
        return (at - first).total_seconds() / size

    x_label = f"{unit} since {first:%Y-%m-%d %H:%M:%S} UTC"
    panels = []
    if log.epochs:
        amounts = [(at, state, float(n)) for at, state, n, _ in log.epochs]
        marks = _marks(amounts, since, since(last), log.total_epochs)
        panels.append(Panel(x_label, "epochs", marks))
    if log.ends:
        ended = [(at, state, 1.0) for at, state in log.ends]
        marks = _marks(ended, since, since(last), log.n_trials)
        panels.append(Panel(x_label, "trials that ended", marks))
    return Chart(f"{short(subject.name)}: what was spent", panels, note=_note(log), panel_width=6.0)


def _marks(
    amounts: Amounts, since: Callable[[datetime], float], last: float, limit: int | None
) -> list[Mark]:
    marks: list[Mark] = []
    if limit is not None:
        marks.append(Line([0.0, last], [limit, limit], "budget", PALE, is_dashed=True))
    named = [
        (label, colour, [row for row in amounts if row[1] in states])
        for states, (label, colour) in _STATES.items()
    ]
    parts = [part for part in named if part[2]]
    if len(parts) > 1:
        parts.insert(0, ("all", _ALL, list(amounts)))
    for label, colour, rows in parts:
        xs, ys = _running_sum(rows, since)
        marks.append(Line([*xs, last], [*ys, ys[-1]], label, colour, is_step=True))
    return marks


def _running_sum(
    rows: Amounts, since: Callable[[datetime], float]
) -> tuple[list[float], list[float]]:
    xs, ys, total = [0.0], [0.0], 0.0
    step = max(1, len(rows) // _MOST_POINTS)
    for i, (at, _, amount) in enumerate(rows, start=1):
        total += amount
        if i % step == 0 or i == len(rows):
            xs.append(since(at))
            ys.append(total)
    return xs, ys


def _note(log: SpendingLog) -> str:
    if not log.epochs:
        return ""
    of_state: dict[str, float] = {}
    for _, state, _, seconds in log.epochs:
        of_state[state] = of_state.get(state, 0.0) + seconds
    text = f"training: {duration(sum(of_state.values()))}, summed over trials"
    text += _part(of_state, "PRUNED", "that were stopped early")
    text += _part(of_state, "FAIL", "that failed")
    if not log.is_exact:
        text += "; the epochs of a trial stand at its last one"
    return text


def _part(of_state: Mapping[str, float], state: str, what: str) -> str:
    return f"; {duration(of_state[state])} of trials {what}" if of_state.get(state) else ""
