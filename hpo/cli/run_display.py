"""Run display: a live display of a running study on a terminal, or plain lines into a pipe."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from rich.live import Live
from rich.text import Text

from hpo.cli import progress_view
from hpo.cli.messages import say
from hpo.cli.output import Screen, show_lines
from hpo.errors import StoreError
from hpo.report.learning_curves import has_values
from hpo.report.progress import (
    Moment,
    Snapshot,
    first_pruning,
    last_event,
    snapshot,
    time_left_s,
    trials_per_s,
)
from hpo.report.study_queries import Subject, find
from hpo.report.text import formatting
from hpo.report.text.printable import cell
from hpo.report.text.text_tables import UNLIMITED
from hpo.run.host.session import RunEnd, Session
from hpo.store.db.database import Database
from hpo.store.studies import study_endings, study_records

REDRAW_S = 0.25
PLAIN_S = 5.0
RATE_WINDOW_S = 60.0
MAX_SHARE = 0.1
"""Maximum share of the time that the display spends on reading the database."""


class Tracker:
    """Reads the progress of a study at a rate that the database can answer.

    Args:
        session: The running study.
        clock: Returns monotonic seconds.
        has_best: Whether its best trial is shown.

    Attributes:
        n_finished_before: Trials that had finished when this process joined the study.
    """

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float] = time.monotonic,
        *,
        has_best: bool = True,
    ) -> None:
        self.session = session
        self._has_best = has_best
        self.subject = find(session.db, session.study.name)
        self._clock = clock
        self._since_event = last_event(session.db, self.subject.study_id)
        self._snapshot = snapshot(session.db, self.subject, since_event=self._since_event)
        self.n_finished_before = self._snapshot.counts.finished
        self._started = Moment(clock(), _tried(self._snapshot))
        self._moments = deque([self._started])
        self._next_read_s = 0.0

    def look(self, *, force: bool = False) -> progress_view.View:
        """Returns the study's progress, at most a moment old."""
        now_s = self._clock()
        if force or now_s >= self._next_read_s:
            self._snapshot = self._read()
            now_s, began_s = self._clock(), now_s
            self._next_read_s = now_s + max(REDRAW_S, (now_s - began_s) / MAX_SHARE)
            n_tried = max(self._moments[-1].n_tried, _tried(self._snapshot))
            if not self._snapshot.counts.running and n_tried == self._started.n_tried:
                # The workers are still starting, so their rate is unknown.
                self._moments.clear()
            self._moments.append(Moment(now_s, n_tried))
            while self._moments[0].at_s < now_s - RATE_WINDOW_S:
                self._moments.popleft()
        return self._view(now_s)

    def _read(self) -> Snapshot:
        try:
            # `hpo update` or `hpo pause` may have changed its budget or state.
            self.subject = self._find()
            return snapshot(
                self.session.db,
                self.subject,
                since_event=self._since_event,
                best=self._snapshot.best,
            )
        except StoreError as error:
            # The workers wait for the end of an outage, and so does the display.
            if not self.session.db.is_outage(error):
                raise
            return self._snapshot

    def _find(self) -> Subject:
        # It may have been renamed, or deleted and created again.
        study = study_records.reload(self.session.db, self.session.study)
        return find(self.session.db, study.name)

    def _view(self, now_s: float) -> progress_view.View:
        last = self._moments[-1]
        recent = trials_per_s(self._moments[0], last) or trials_per_s(self._started, last)
        n_trials = self.subject.n_trials
        n_left = None if n_trials is None else n_trials - last.n_tried
        if n_left is not None and n_left <= 0 < self._snapshot.counts.paused:
            # All have started; the search decides how long the paused ones will train.
            n_left = None
        return progress_view.View(
            subject=self.subject,
            snapshot=self._snapshot,
            trials_per_s=recent,
            overall_per_s=trials_per_s(self._started, last),
            elapsed_s=now_s - self._started.at_s,
            left_s=time_left_s(n_left, recent, self._until_deadline_s()),
            notice=self.session.notice or self._trouble() or self._state_notice(),
            has_best=self._has_best,
        )

    def _trouble(self) -> str:
        why = self.session.trouble
        return f"waiting for the database: {why}" if why else ""

    def _state_notice(self) -> str:
        if self.subject.state == "paused":
            return f"paused; `hpo resume {shlex.quote(self.subject.name)}` resumes it"
        return "stopping" if self.subject.state == "stopped" else ""

    def _until_deadline_s(self) -> float | None:
        if self.subject.deadline_at is None:
            return None
        return (self.subject.deadline_at - formatting.utc_now()).total_seconds()


def _tried(found: Snapshot) -> int:
    """Counts the trials that have ended or are paused: most of the work on them is done."""
    return found.counts.finished + found.counts.paused


class Display(Protocol):
    """Shows the progress of a study."""

    def tick(self) -> None:
        """Shows the current progress, if an update is due."""

    def close(self) -> progress_view.View:
        """Shows the final progress and returns it."""


class LiveDisplay:
    """Redraws a few lines of the terminal in place."""

    def __init__(self, tracker: Tracker, console: Screen) -> None:
        self._tracker = tracker
        self._console = console
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._live.start()

    def tick(self) -> None:
        """Redraws."""
        self._draw(self._tracker.look(), ended=False)

    def close(self) -> progress_view.View:
        """Draws a last time and leaves the lines on the terminal."""
        view = self._tracker.look(force=True)
        self._draw(view, ended=True)
        self._live.stop()
        return view

    def _draw(self, view: progress_view.View, *, ended: bool) -> None:
        lines = progress_view.lines(view, self._console.width, ended=ended)
        self._live.update(Text("\n").join(lines), refresh=True)


class PlainDisplay:
    """Prints a line when something has changed, at a limited rate."""

    def __init__(self, tracker: Tracker, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracker = tracker
        self._clock = clock
        self._shown = progress_view.plain(tracker.look())
        self._next_s = clock() + PLAIN_S
        self._said: set[str] = set()
        self._notice = ""

    def tick(self) -> None:
        """Prints a line, if one is due."""
        view = self._tracker.look()
        self._say_once(progress_view.failure(view))
        if view.notice != self._notice:
            self._notice = view.notice
            say(view.notice or "running again")
        line = progress_view.plain(view)
        if line != self._shown and self._clock() >= self._next_s:
            say(line)
            self._shown = line
            self._next_s = self._clock() + PLAIN_S

    def close(self) -> progress_view.View:
        """Prints the final progress."""
        view = self._tracker.look(force=True)
        self._say_once(progress_view.failure(view))
        for line in progress_view.lines(view, UNLIMITED, ended=True, with_bar=False):
            say(line.plain.strip())
        return view

    def _say_once(self, line: str) -> None:
        if line and line not in self._said:
            self._said.add(line)
            say(line)


def follow(
    session: Session, console: Screen, storage: str | None, *, is_search: bool = True
) -> RunEnd:
    """Runs a session to its end and shows its progress.

    Args:
        storage: The value of ``--storage``, for the commands that are suggested at the end.
        is_search: The trials are those of a search, so that the best is shown, and what to do
            next.
    """
    tracker = Tracker(session, has_best=is_search)
    for line in progress_view.wrapped(heading(session), console.width):
        console.print(line)
    display: Display
    if console.is_terminal and not console.is_dumb_terminal:
        display = LiveDisplay(tracker, console)
    else:
        display = PlainDisplay(tracker)
    try:
        end = session.wait(display.tick)
    finally:
        view = display.close()
    if end.reason == "done" and not end.exit_code and progress_view.all_failed(view):
        hint = f"`hpo show {shlex.quote(tracker.subject.name)}` shows why"
        return RunEnd("failed", "every trial failed", 1, hint)
    if is_search or end.reason != "done":
        _say_goodbye(console, tracker, view, end, storage)
    return end


def heading(session: Session) -> list[str]:
    """Returns the parts of the heading: the study, its database, the workers, the engine."""
    workers = f"{session.n_workers} worker{'s' * (session.n_workers > 1)} on {session.device}"
    spec = session.study.spec
    engine = f"engine {session.engine}" if spec.kind == "task" else cell(spec.reference, 60)
    return [session.study.name, session.db.masked_url, workers, engine]


def _say_goodbye(
    console: Screen, tracker: Tracker, view: progress_view.View, end: RunEnd, storage: str | None
) -> None:
    if end.reason in ("interrupted", "stopped"):
        lines = [end.message or "interrupted; run the same command again to resume"]
    elif end.reason == "failed":
        return
    else:
        db, subject = tracker.session.db, tracker.subject
        is_empty = not view.snapshot.counts.complete
        lines = [
            *outcome(view, tracker.n_finished_before),
            *(without_complete(db, subject, view) if is_empty else ()),
            next_steps(subject, view, storage, can_plot=not is_empty or has_values(db, subject)),
        ]
    show_lines([Text(f" {line}") for line in lines], console)


def outcome(view: progress_view.View, n_finished_before: int) -> list[str]:
    """Returns why a study ended, if the figures do not show it.

    Args:
        n_finished_before: Trials that had finished when this process joined the study.
    """
    subject, counts = view.subject, view.snapshot.counts
    budget = None if subject.spec is None else subject.spec.budget
    found = []
    if subject.reason == "exhausted":
        found.append("every point of the search space was tried")
    elif counts.finished == n_finished_before and 0 < (subject.n_trials or 0) <= counts.finished:
        found.append("the budget was already spent; raise it with --trials")
    elif subject.reason == "target" and budget is not None and budget.target is not None:
        found.append(f"the target of {formatting.number(budget.target)} is reached")
    elif subject.reason == "deadline" and budget is not None and budget.hours is not None:
        found.append(f"the {budget.hours:g} hours of the budget are over")
    elif subject.reason == "patience" and budget is not None and budget.patience is not None:
        found.append(
            f"{formatting.count(budget.patience)} trials in a row did not improve the best value"
        )
    elif subject.reason == study_endings.BY_OBJECTIVE:
        found.append("the objective called study.stop()")
    return found


def without_complete(db: Database, subject: Subject, view: progress_view.View) -> list[str]:
    """Returns a note that no trial is complete, with the message of the first pruned trial."""
    if view.snapshot.best is not None:
        return ["no trial was trained to the end; the best one was stopped early"]
    pruning = first_pruning(db, subject)
    why = "`hpo show` shows why"
    if pruning is not None and (said := formatting.last_line(pruning.message)):
        why = f"trial {pruning.number} was pruned: {cell(said, progress_view.LONGEST_REASON)}"
    return [f"no trial is complete, so there is no best one; {why}"]


def next_steps(
    subject: Subject, view: progress_view.View, storage: str | None, *, can_plot: bool = True
) -> str:
    """Returns commands to suggest when a study has ended.

    Args:
        can_plot: There are values to draw.
    """
    name = shlex.quote(subject.name)
    has_best = view.snapshot.counts.complete or view.snapshot.best is not None
    first = "best" if has_best else "show"
    plot = f" · hpo plot history {name}" if can_plot else ""
    line = f"next: hpo {first} {name}{plot} · hpo dashboard"
    # A URL with a user may also have a password, so it is not repeated.
    return line if storage is None or "@" in storage else f"{line}  (with --storage {storage})"
