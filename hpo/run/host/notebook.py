"""Notebook: a study as a card of HTML, which is drawn again while the study runs.

The card is one element with styles of its own, and no script. Colours are those of the notebook,
so that it is readable in light and in dark. All text is escaped.
"""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.errors import StoreError
from hpo.search.base.distributions import complete
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.rows import worker_list
from hpo.store.rows.trial_reader import read_heads, read_trials
from hpo.store.studies import study_records
from hpo.store.studies.study_records import StudyRecord
from hpo.store.studies.trial_states import counts_of

REDRAW_S: Final = 1.0
MOST_SHARE: Final = 0.1
"""Largest share of the time that drawing takes."""
_WIDTH, _HEIGHT, _MARGIN = 420, 120, 6
_MOST_POINTS: Final = 400
_MOST_PARAMS: Final = 30
_LONGEST: Final = 60
_COLOURS: Final = {
    "complete": "#2e8540",
    "pruned": "#c98a00",
    "failed": "#c0392b",
    "running": "#2471a3",
    "paused": "#b7950b",
    "waiting": "#808b96",
}


@dataclass(frozen=True)
class StudySummary:
    """What a card shows of a study.

    Attributes:
        counts: Trials by state, in words.
        values: Number and first value of each complete trial, by number.
        best: Number of the best trial; None without one, or with several objectives.
        params: Of the best trial.
        n_workers: Live workers.
    """

    record: StudyRecord
    counts: Mapping[str, int]
    values: Sequence[tuple[int, float]]
    best: int | None
    params: Mapping[str, Any]
    n_workers: int

    @property
    def text(self) -> str:
        """The study in one line."""
        n_ended = sum(self.counts.get(name, 0) for name in ("complete", "pruned", "failed"))
        found = f"{self.record.name}: {self.record.state}, {n_ended} trials ended"
        if self.best is None:
            return found
        return f"{found}, best {dict(self.values)[self.best]:.4g} (trial {self.best})"


def summary(db: Database, record: StudyRecord) -> StudySummary:
    """Reads what a card shows, in a handful of statements."""
    record = study_records.reload(db, record)
    with db.read() as conn:
        counts = vars(counts_of(conn, db, record.study_id))
        values = [(int(n), float(v)) for n, v in conn.execute(_values(record.study_id))]
        best, params = None, {}
        if values and len(record.spec.directions) == 1:
            up = record.spec.directions[0] == "maximize"
            pick = max if up else min
            best = pick(values, key=lambda pair: (pair[1], -pair[0] if up else pair[0]))[0]
            params = _params(conn, record, best)
    n_workers = len(worker_list.live(db, record.study_id))
    return StudySummary(record, counts, values, best, params, n_workers)


def card(found: StudySummary) -> str:
    """Returns a study as HTML."""
    record = found.record
    state = f"{record.state}" + (f" ({record.reason})" if record.reason else "")
    workers = f" · {found.n_workers} worker{'s' * (found.n_workers != 1)}" * bool(found.n_workers)
    budget = record.budget.trials
    parts = [
        '<div style="font: 13px/1.5 system-ui, sans-serif; max-width: 460px; padding: 10px 14px;'
        ' border: 1px solid rgba(128, 128, 128, .4); border-radius: 6px">',
        f'<div><b>{_text(record.name)}</b> <span style="opacity: .7">{_text(state)}{workers}'
        "</span></div>",
        _bar(found.counts, budget),
    ]
    if found.best is not None:
        metric = (record.spec.metrics or ("value",))[0]
        value = dict(found.values)[found.best]
        parts.append(f"<div>best {_text(metric)} <b>{value:.4g}</b> in trial {found.best}</div>")
        parts.append(_history(found.values, record.spec.directions[0] == "maximize"))
        parts.append(_table(found.params))
    elif len(record.spec.directions) > 1:
        n_metrics = len(record.spec.directions)
        parts.append(f"<div>{n_metrics} objectives: study.optuna.best_trials</div>")
    else:
        parts.append('<div style="opacity: .7">no trial is complete yet</div>')
    return "".join([*parts, "</div>"])


def live_display(db: Database, record: StudyRecord) -> Callable[[], None] | None:
    """Returns what draws a study's card again, at most once a second; None outside a notebook."""
    show = _displayer()
    if show is None:
        return None
    next_s, last = 0.0, ""
    handle: Any = None

    def draw() -> None:
        nonlocal next_s, handle, last
        began_s = time.monotonic()
        if began_s < next_s:
            return
        try:
            text = card(summary(db, record))
        except StoreError:
            # The workers wait for the end of an outage, and so does the display.
            next_s = began_s + REDRAW_S
            return
        if handle is None:
            handle = show(text)
        elif text != last:
            handle.update(_html(text))
        last = text
        now_s = time.monotonic()
        next_s = now_s + max(REDRAW_S, (now_s - began_s) / MOST_SHARE)

    return draw


def _displayer() -> Callable[[str], Any] | None:
    """Returns what shows HTML in the notebook that runs this process, if one does."""
    loaded = sys.modules.get("IPython")
    shell = loaded.get_ipython() if loaded is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    display = importlib.import_module("IPython.display").display
    return lambda text: display(_html(text), display_id=True)


def _html(text: str) -> Any:
    return importlib.import_module("IPython.display").HTML(text)


def _values(study_id: int) -> sa.Select[Any]:
    trial, value = optuna_tables.trials.c, optuna_tables.trial_values.c
    return (
        sa.select(trial.number, value.value)
        .join(optuna_tables.trial_values, value.trial_id == trial.trial_id)
        .where(trial.study_id == study_id, value.objective == 0, value.value.is_not(None))
        .where(trial.state == TrialState.COMPLETE)
        .order_by(trial.number)
    )


def _params(conn: sa.Connection, record: StudyRecord, number: int) -> dict[str, Any]:
    trial = optuna_tables.trials.c
    statement = sa.select(trial.trial_id).where(
        trial.study_id == record.study_id, trial.number == number
    )
    trial_id = conn.scalar(statement)
    heads = read_heads(conn, record.study_id, 2**31 - 1, [int(trial_id or 0)])
    for found in read_trials(conn, heads, intermediate=False):
        return dict(complete(found.params, record.spec.space) or found.params)
    return {}


def _bar(counts: Mapping[str, int], budget: int | None) -> str:
    """Returns the trials as a bar of colours, with the counts below it."""
    total = max(1, sum(counts.values()), budget or 0)
    pieces = "".join(
        f'<span style="display: inline-block; height: 8px; width: {100 * n / total:.3f}%;'
        f' background: {_COLOURS[name]}"></span>'
        for name, n in counts.items()
        if n and name != "waiting"
    )
    said = " · ".join(
        f'<span style="color: {_COLOURS[name]}">{n:,} {name}</span>'
        for name, n in counts.items()
        if n
    )
    of_all = f" of {budget:,}" if budget else ""
    return (
        '<div style="font-size: 0; margin: 6px 0 2px; background: rgba(128, 128, 128, .2)">'
        f"{pieces}</div><div>{said or '0 trials'}{of_all}</div>"
    )


def _history(values: Sequence[tuple[int, float]], maximize: bool) -> str:
    """Returns the values by trial as dots, and the best so far as a line."""
    step = -(-len(values) // _MOST_POINTS)
    best: list[tuple[int, float]] = []
    for number, value in values:
        known = best[-1][1] if best else value
        best.append((number, max(known, value) if maximize else min(known, value)))
    low, high = min(v for _, v in values), max(v for _, v in values)
    last = max(1, values[-1][0])

    def x(number: int) -> float:
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * number / last

    def y(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * share

    dots = "".join(
        f'<circle cx="{x(n):.1f}" cy="{y(v):.1f}" r="2" fill="currentColor" opacity=".35"/>'
        for n, v in values[::step]
    )
    shown = [*best[::step], best[-1]]
    path = f"M{x(shown[0][0]):.1f},{y(shown[0][1]):.1f}"
    path += "".join(f"H{x(n):.1f}V{y(v):.1f}" for n, v in shown[1:])
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="values of the '
        f'complete trials, and the best so far">{dots}<path d="{path}" fill="none" '
        f'stroke="{_COLOURS["running"]}" stroke-width="1.5"/></svg>'
    )


def _table(params: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td style="text-align: left; opacity: .7; padding: 0 12px 0 0">{_text(name)}</td>'
        f'<td style="text-align: left; padding: 0">{_text(_short(value))}</td></tr>'
        for name, value in list(params.items())[:_MOST_PARAMS]
    )
    style = "font-size: 12px; color: inherit; background: none; border: 0; margin: 4px 0 0"
    return f'<table style="{style}">{rows}</table>'


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    """Returns text of others as HTML, without what is not visible in it."""
    shown = "".join(c if c.isprintable() else "�" for c in text[: _LONGEST + 1])
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    return html.escape(shown)
