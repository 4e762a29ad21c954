"""Study screen: what `hpo watch` shows of a study, as lines of a given size. Pure functions."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from rich.text import Text

from hpo.cli import progress_view
from hpo.cli.progress_view import DOT, View
from hpo.cli.screens.panels import Panel, cut, fitted
from hpo.cli.screens.sparkline import sparkline
from hpo.cli.screens.worker_panel import worker_panel
from hpo.report.activity.rates import TimeLeft
from hpo.report.activity.running_trials import RunningTrial
from hpo.report.activity.study_activity import StudyActivity
from hpo.report.activity.worker_states import DEAD
from hpo.report.overview import EventRow
from hpo.report.text import formatting
from hpo.report.text.printable import cell
from hpo.report.text.text_tables import STATE_STYLES

CURVE_WIDTH = 27
N_EVENTS = 8
_WIDEST_NAME = 60
_SMALL_CURVE = 12
_INDENT = " " * len(" best ")


def lines(page: StudyActivity, where: str, width: int, height: int | None = None) -> list[Text]:
    """Returns the screen.

    Args:
        where: The database's masked URL.
        width: Maximum cells of a line.
        height: Maximum number of lines; None for a page without an end.
    """
    top = [*_head(page, where, width), *_best(page, width), *_notices(page, width)]
    panels = [_running(page), worker_panel(page.workers, page.now), _events(page)]
    room = None if height is None else max(0, height - len(top))
    return [*top, *fitted(panels, width, room)][:height]


def rate_line(page: StudyActivity) -> str:
    """Returns the rates and the time left, or an empty string if nothing runs."""
    rates, parts = page.rates, []
    if rates is not None:
        if rates.trials_per_s:
            parts.append(formatting.rate(rates.trials_per_s))
        if rates.epochs_per_s:
            parts.append(formatting.rate(rates.epochs_per_s, "epochs"))
        parts[-1] += f" (last {formatting.duration(round(rates.window_s))})"
    left = _left(page.left)
    if left and page.n_live and page.subject.state == "active":
        parts.append(left)
    return DOT.join(parts)


def _left(left: TimeLeft) -> str:
    about_s, at_most_s = left.about_s, left.at_most_s
    if about_s is None:
        return "" if at_most_s is None else f"at most {formatting.clock(at_most_s)} left"
    if at_most_s is None or at_most_s <= about_s:
        return f"about {formatting.clock(about_s)} left"
    return f"{formatting.clock(about_s)} to {formatting.clock(at_most_s)} left"


def _head(page: StudyActivity, where: str, width: int) -> list[Text]:
    subject = page.subject
    name, state = cell(subject.name, _WIDEST_NAME), cell(subject.state, 32)
    reason = f"{DOT}{cell(formatting.last_line(subject.reason), 200)}" if subject.reason else ""
    head = Text(cut(f"{name}{DOT}{state}{reason}{DOT}{cell(where, 200)}", width))
    head.stylize("bold", 0, len(name))
    begin = len(name) + len(DOT)
    head.stylize(STATE_STYLES.get(subject.state, ""), begin, begin + len(state))
    # A budget in hours has a bar of time.
    left_s = page.left.at_most_s
    view = View(subject, page.snapshot, elapsed_s=page.elapsed_s, left_s=left_s)
    with_bar = bool(subject.n_trials) or left_s is not None
    status = progress_view.status(view, width, ended=True, with_bar=with_bar)
    rates = rate_line(page)
    return [head, status, *([Text(cut(f" {rates}", width))] if rates else [])]


def _best(page: StudyActivity, width: int) -> list[Text]:
    subject, best = page.subject, page.snapshot.best
    if len(subject.directions) > 1:
        return [Text(cut(f" `hpo best {shlex.quote(subject.name)}` lists the best trials", width))]
    found = []
    if best is not None:
        found += progress_view.best_lines(subject, best, width)
        if best.ended_at is not None and not page.has_ended:
            since = f"found {formatting.ago(best.ended_at, page.now)}"
            if found[-1].cell_len + len(progress_view.GAP) + len(since) <= width:
                found[-1].append(f"{progress_view.GAP}{since}")
            else:
                found.append(Text(f"{_INDENT}{since}"))
    elif page.leader is not None:
        epoch = f", epoch {page.leader.epoch}" if page.leader.epoch is not None else ""
        found.append(
            Text(
                cut(
                    f" best {formatting.number(page.leader.value)} so far (trial "
                    f"{page.leader.number}{epoch}, {page.leader.state.lower()}); "
                    "no trial is complete yet",
                    width,
                )
            )
        )
    return [*found, *_curves(page, width)]


def _curves(page: StudyActivity, width: int) -> list[Text]:
    """Returns a line for each curve: the metric, and the losses of training and validation."""
    wanted = dict.fromkeys([page.subject.metrics[0], "train_loss", "val_loss"])
    drawn = {
        name: page.curve[name]
        for name in wanted
        if len(page.curve.get(name, ((), ()))[0]) > 1
        and any(map(math.isfinite, page.curve[name][1]))
    }
    names = {name: cell(name, 24) for name in drawn}
    longest = max(map(len, names.values()), default=0)
    steps = "epochs" if progress_view.is_in_epochs(page.subject) else "steps"
    found = []
    for name, (epochs, values) in drawn.items():
        span = f"{formatting.number(values[0])} to {formatting.number(values[-1])}"
        line = sparkline(values, CURVE_WIDTH)
        text = f"{_INDENT}{names[name]:<{longest}}  {line}  {span} in {len(epochs)} {steps}"
        found.append(Text(cut(text, width), style="" if name == page.subject.metrics[0] else "dim"))
    return found


def _notices(page: StudyActivity, width: int) -> list[Text]:
    found = []
    if reason := progress_view.failure(View(page.subject, page.snapshot)):
        found.append(Text(cut(f" {reason}", width), style="red"))
    notices = [_orphans(page), _state_notice(page)]
    return [*found, *(Text(cut(f" {each}", width), style="yellow") for each in notices if each)]


def _orphans(page: StudyActivity) -> str:
    """Returns a note about trials whose workers are dead, or an empty string."""
    dead = [each for each in page.workers if each.state == DEAD and each.n_trials]
    n = sum(each.n_trials for each in dead)
    if not n:
        return ""
    held = "1 trial" if n == 1 else f"{formatting.count(n)} trials"
    whose = "a dead worker" if len(dead) == 1 else f"{len(dead)} dead workers"
    return f"{held} of {whose}: another worker resumes them"


def _state_notice(page: StudyActivity) -> str:
    """Returns what a user may do in the study's state, or an empty string."""
    subject, quoted = page.subject, shlex.quote(page.subject.name)
    if subject.state == "paused":
        return f"paused; `hpo resume {quoted}` resumes it"
    if subject.state == "stopped":
        return f"stopped; `hpo resume {quoted}` and a worker resume it"
    if subject.state == "active" and not page.n_live:
        return f"no worker is running; `hpo worker {quoted}` starts one"
    return ""


def _running(page: StudyActivity) -> Panel:
    metric = cell(page.subject.metrics[0], 16) if len(page.subject.metrics) == 1 else "value"
    rows = [
        (
            f"trial {trial.number}",
            _epochs(trial),
            formatting.number(trial.value),
            sparkline(trial.values, _SMALL_CURVE),
            _since(page, trial),
            formatting.ago(trial.reported_at, page.now),
            f"{trial.host}:{trial.pid}" if trial.host else "-",
            trial.device or "-",
        )
        for trial in page.running
    ]
    header = ("running", "epoch", metric, "curve", "for", "reported", "worker", "device")
    return Panel(header, rows, right=frozenset({1, 2}), optional=(3, 4, 5))


def _epochs(trial: RunningTrial) -> str:
    if trial.epoch is None:
        return "-"
    attempt = f" (attempt {trial.attempt})" if (trial.attempt or 1) > 1 else ""
    return f"{trial.epoch}/{trial.epoch_stop}{attempt}" if trial.epoch_stop else f"{trial.epoch}"


def _since(page: StudyActivity, trial: RunningTrial) -> str:
    if trial.started_at is None:
        return "-"
    return formatting.duration(max(0, round((page.now - trial.started_at).total_seconds())))


def _events(page: StudyActivity) -> Panel:
    events: Sequence[EventRow] = page.events[:N_EVENTS]
    rows = [
        (
            formatting.ago(event.at, page.now),
            event.kind,
            "" if event.number is None else f"trial {event.number}",
            formatting.last_line(event.message),
        )
        for event in events
    ]
    return Panel(("events", "", "", ""), rows)
