"""Progress view: the lines of the progress display as text of a given width. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from hpo.report.progress import Snapshot
from hpo.report.study_queries import Subject
from hpo.report.text import formatting
from hpo.report.text.printable import cell, visible
from hpo.report.trial_pages import TrialRow
from hpo.spec.space.search_space import Fixed, SearchSpace

BAR_WIDTH = 24
MIN_BAR_WIDTH = 8
GAP = "   "
DOT = " · "
LONGEST_REASON = 200


@dataclass(frozen=True)
class View:
    """The state of a running study that the display draws.

    Attributes:
        trials_per_s: The recent rate; None before any trial has finished.
        overall_per_s: The rate since this process joined the study.
        elapsed_s: Seconds since it began; None if unknown.
        left_s: Estimated seconds until the budget ends; None if unknown.
        notice: A message for the user, such as the effect of Ctrl-C.
        has_best: Whether the best trial is shown; of runs that only differ by seeds it means
            nothing.
    """

    subject: Subject
    snapshot: Snapshot
    trials_per_s: float | None = None
    overall_per_s: float | None = None
    elapsed_s: float | None = 0.0
    left_s: float | None = None
    notice: str = ""
    has_best: bool = True

    @property
    def best(self) -> TrialRow | None:
        """The best trial, if it is shown."""
        return self.snapshot.best if self.has_best else None


def lines(view: View, width: int, *, ended: bool, with_bar: bool = True) -> list[Text]:
    """Returns the display, each line no wider than ``width`` cells.

    Args:
        ended: The run has ended: times are totals.
        with_bar: Draw the bar.
    """
    shown = [status(view, width, ended=ended, with_bar=with_bar)]
    best = view.best
    if best is not None:
        shown += best_lines(view.subject, best, width)
    reason = failure(view)
    if reason and with_bar:
        shown.append(Text(_cut(f" {reason}", width), style="red"))
    if view.notice and not ended:
        shown.append(Text(_cut(f" {view.notice}", width), style="yellow"))
    return shown


def status(view: View, width: int, *, ended: bool, with_bar: bool) -> Text:
    """Returns the first line: trials, bar, and as many of the other figures as fit."""
    count = f" {_trials(view)}"
    figures = _figures(view, ended=ended)
    bar_width = BAR_WIDTH if with_bar else 0
    while figures and cell_len(count) + bar_width + 2 + _length(figures) > width:
        if bar_width > MIN_BAR_WIDTH:
            bar_width = max(MIN_BAR_WIDTH, width - cell_len(count) - 2 - _length(figures))
        else:
            # The figures are in order of importance, except the time, which is last.
            figures.pop(-2 if len(figures) > 1 else -1)
    line = Text(_cut(count, width))
    bar_width = min(bar_width, max(0, width - cell_len(count) - 2))
    if bar_width:
        line.append(" ").append_text(bar(*_shares(view), bar_width)).append(" ")
    for i, (figure, style) in enumerate(figures):
        line.append(DOT if i or not bar_width else "").append(figure, style=style)
    return line


def bar(done: float, paused: float, width: int) -> Text:
    """Draws a thick line for finished and paused trials, in two colours; a thin one for others."""
    n_done = min(width, int(done * width + 1e-9))
    n_paused = min(width, int((done + paused) * width + 1e-9)) - n_done
    line = Text("━" * n_done, style="green").append("━" * n_paused, style="yellow")
    return line.append("─" * (width - n_done - n_paused), style="dim")


def best_lines(subject: Subject, best: TrialRow, width: int) -> list[Text]:
    """Returns the best value, its trial and epoch, and its parameters."""
    where = f"trial {best.number}"
    if best.epoch is not None and is_in_epochs(subject):
        where += f", epoch {best.epoch}"
    if not best.is_complete:
        where += ", stopped"
    head = f"{formatting.with_spread(best.value, best.user_attrs.get('spread'))} ({where})"
    params = [
        f"{name} {formatting.param(value)}"
        for name, value in best.params.items()
        if not _is_fixed(subject, name)
    ]
    found = [Text(line) for line in wrapped([head, *params], width, GAP, " best ")]
    found[0].stylize("bold green", len(" best "), len(" best ") + len(head))
    return found


def plain(view: View) -> str:
    """Returns the study in one line for a log: ``12/60 trials, 7 stopped early, best 0.9694``."""
    counts, best = view.snapshot.counts, view.best
    parts = [_trials(view)]
    if counts.pruned:
        parts.append(f"{formatting.count(counts.pruned)} stopped early")
    if counts.paused:
        parts.append(f"{formatting.count(counts.paused)} paused")
    if counts.failed:
        parts.append(f"{formatting.count(counts.failed)} failed")
    if best is not None:
        parts.append(f"best {formatting.number(best.value)} (trial {best.number})")
    return ", ".join(parts)


def failure(view: View) -> str:
    """Returns the reason why the first trial failed, or an empty string."""
    found = view.snapshot.failure
    if found is None:
        return ""
    reason = cell(formatting.last_line(found.message) or found.kind, LONGEST_REASON)
    return f"trial {found.number} failed: {reason} (hpo show {shlex.quote(view.subject.name)})"


def all_failed(view: View) -> bool:
    """Returns whether trials have ended and all of them failed."""
    counts = view.snapshot.counts
    return counts.failed == counts.finished > 0


def wrapped(parts: Sequence[str], width: int, gap: str = DOT, lead: str = "") -> list[str]:
    """Joins parts into lines no wider than ``width``, breaking between parts.

    Args:
        lead: Start of the first line; the others are indented by its width.
    """
    found: list[str] = []
    for part in map(visible, parts):
        if found and cell_len(found[-1] + gap + part) <= width:
            found[-1] += gap + part
        else:
            found.append((" " * cell_len(lead) if found else lead) + part)
    return [_cut(line, width) for line in found]


def is_in_epochs(subject: Subject) -> bool:
    """Returns whether the steps of this study are epochs; an objective defines its own steps."""
    return subject.spec is not None and subject.spec.objective is None


def _is_fixed(subject: Subject, name: str) -> bool:
    space = SearchSpace() if subject.spec is None else subject.spec.space
    return name in space.names and isinstance(space[name], Fixed)


def _trials(view: View) -> str:
    subject, n = view.subject, view.snapshot.counts.finished
    what = " trial" if subject.n_trials is None and n == 1 else " trials"
    return formatting.trials(n, subject.n_trials, subject.budget, what=what)


def _figures(view: View, *, ended: bool) -> list[tuple[str, str]]:
    counts = view.snapshot.counts
    found: list[tuple[str, str]] = []
    if not ended and not counts.running and view.overall_per_s is None:
        found.append(("starting", "dim"))
    if counts.pruned:
        found.append((f"{formatting.count(counts.pruned)} stopped early", ""))
    if counts.paused:
        found.append((f"{formatting.count(counts.paused)} paused", ""))
    if counts.failed:
        found.append((f"{formatting.count(counts.failed)} failed", "red"))
    # An objective has epochs where it has an hpo.Run.
    if is_in_epochs(view.subject) or view.snapshot.n_epochs:
        found.append((_epochs(view), ""))
    mean = view.snapshot.usage.mean
    if mean >= 1.05:
        found.append((f"{mean:.1f} lanes per stack", ""))
    per_s = view.overall_per_s if ended else view.trials_per_s
    if per_s:
        found.append((formatting.rate(per_s), ""))
    if not ended and view.left_s is not None:
        found.append((f"{formatting.clock(view.left_s)} left", ""))
    elif view.elapsed_s is not None:
        found.append((formatting.clock(view.elapsed_s), ""))
    return found


def _epochs(view: View) -> str:
    full = _full_epochs(view)
    n_epochs = formatting.count(view.snapshot.n_epochs)
    return (
        f"{n_epochs} epochs" if full is None else f"{n_epochs} of {formatting.count(full)} epochs"
    )


def _full_epochs(view: View) -> int | None:
    subject, n_finished = view.subject, view.snapshot.counts.finished
    if subject.spec is None or not is_in_epochs(subject):
        # Its first trial announces how many there are.
        return None
    budget = subject.spec.budget
    n_trials = None if subject.n_trials is None else max(subject.n_trials, n_finished)
    by_trials = None if n_trials is None else n_trials * budget.epochs
    known = [n for n in (by_trials, budget.total_epochs) if n is not None]
    return min(known) if known else None


def _shares(view: View) -> tuple[float, float]:
    """Returns the shares of the study that are done and paused."""
    counts, n_trials = view.snapshot.counts, view.subject.n_trials
    if n_trials:
        return counts.finished / n_trials, counts.paused / n_trials
    if view.left_s is not None and view.elapsed_s is not None:
        return view.elapsed_s / max(view.elapsed_s + view.left_s, 1e-9), 0.0
    return 0.0, 0.0


def _length(figures: Sequence[tuple[str, str]]) -> int:
    return cell_len(DOT.join(figure for figure, _ in figures))


def _cut(line: str, width: int) -> str:
    line = visible(line)
    if cell_len(line) <= width:
        return line
    cut = Text(line)
    cut.truncate(max(1, width), overflow="ellipsis")
    return cut.plain
