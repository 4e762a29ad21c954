"""Page tables: the tables and facts that the templates of a report lay out. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpo.report.endings_summary import Ending
from hpo.report.page.influence import varying
from hpo.report.page.sentences import listed, name_of, reason
from hpo.report.page.study_report import StudyReport
from hpo.report.text import formatting
from hpo.report.text.formatting import count, duration, number
from hpo.report.text.printable import cell
from hpo.spec.space.search_space import Fixed

_MOST_PARAMS: Final = 40
_MOST_COLUMNS: Final = 6
_MOST_MESSAGES: Final = 3
_MOST_ENDINGS: Final = 12
_MOST_PLACES: Final = 12
_LONGEST_VALUE: Final = 60
_LONGEST_MESSAGE: Final = 240
_STATES: Final = {
    "COMPLETE": "complete",
    "PRUNED": "stopped early",
    "FAIL": "failed",
    "RUNNING": "running",
    "PAUSED": "paused",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class Param:
    """A parameter of the best trial."""

    name: str
    value: str
    is_fixed: bool


@dataclass(frozen=True)
class Table:
    """A table as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Said:
    """A message of trials that ended.

    Attributes:
        text: The message.
        place: The line of the user's code; empty if unknown.
        number: A trial that has it.
        n: Number of trials that ended at this place.
    """

    text: str
    place: str
    number: int
    n: int


@dataclass(frozen=True)
class Reason:
    """Why trials ended without completion.

    Attributes:
        n: Number of these trials.
        why: In words.
        messages: Of the largest groups of them.
    """

    n: int
    why: str
    messages: tuple[Said, ...]


@dataclass(frozen=True)
class Part:
    """The part of one state in the time that trials trained."""

    state: str
    label: str
    n: str
    n_epochs: str
    time: str
    share: float


def about(report: StudyReport) -> tuple[tuple[str, str], ...]:
    """Returns what was searched, as names and values."""
    subject, spec, counts = report.subject, report.subject.spec, report.counts
    goals = [f"{d} {name_of(m)}" for m, d in zip(subject.metrics, subject.directions, strict=True)]
    found = [("goal", listed(goals))]
    if spec is not None:
        found.append((spec.kind, cell(spec.reference, _LONGEST_MESSAGE)))
        n = len([name for name in spec.space.names if not isinstance(spec.space[name], Fixed)])
        if n:
            found.append(("parameters", f"{n} searched"))
    states = {
        "complete": counts.complete,
        "stopped early": counts.pruned,
        "failed": counts.failed,
        "running": counts.running,
        "paused": counts.paused,
        "waiting": counts.waiting,
    }
    parts = [f"{count(n)} {name}" for name, n in states.items() if n]
    of = f": {', '.join(parts)}" if parts else ""
    found.append(("trials", f"{count(counts.total)}{of}"))
    if subject.created_at is not None:
        found.append(("begun", f"{subject.created_at:%Y-%m-%d %H:%M} UTC"))
    if report.last_at is not None and report.is_final:
        found.append(("ended", f"{report.last_at:%Y-%m-%d %H:%M} UTC"))
    state = "created with Optuna" if subject.state == "optuna" else subject.state
    why = f": {cell(formatting.last_line(subject.reason), 160)}" if subject.reason else ""
    found.append(("state", state + why))
    return tuple(found)


def winner_params(report: StudyReport) -> tuple[Param, ...]:
    """Returns the parameters of the best trial, those that were searched first."""
    best, spec = report.chosen, report.subject.spec
    if best is None:
        return ()
    fixed = set()
    if spec is not None:
        fixed = {name for name in spec.space.names if isinstance(spec.space[name], Fixed)}
    found = [
        Param(name_of(name), cell(formatting.param(value, 4), _LONGEST_VALUE), name in fixed)
        for name, value in list(best.params.items())[:_MOST_PARAMS]
    ]
    return tuple(sorted(found, key=lambda param: param.is_fixed))


def top_trials(report: StudyReport) -> Table:
    """Returns the best trials, or the Pareto front, with the parameters that differ the most."""
    rows = report.top if report.chosen is not None else report.best
    names = varying([row.params for row in rows])
    order = [param.name for each in report.influence for param in each.params]
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    names = names[:_MOST_COLUMNS]
    has_epochs = any(row.epoch is not None for row in rows)
    header = ("trial", *map(name_of, report.subject.metrics), *["epoch"] * has_epochs)
    return Table(
        (*header, *map(name_of, names)),
        tuple(
            (
                str(row.number),
                *(number(value) for value in row.values or ()),
                *[str(row.epoch) if row.epoch is not None else "-"] * has_epochs,
                *(_value(row.params, name) for name in names),
            )
            for row in rows[:20]
        ),
    )


def reasons(report: StudyReport, state: str) -> tuple[Reason, ...]:
    """Returns why trials ended in a state, the most frequent first."""
    found = [ending for ending in report.endings if ending.state == state]
    return tuple(
        Reason(ending.n, reason(ending), tuple(_said(ending))) for ending in found[:_MOST_ENDINGS]
    )


def _said(ending: Ending) -> Iterator[Said]:
    """Yields the most frequent message of each group of trials with the same error and place."""
    for group in ending.groups[:_MOST_MESSAGES]:
        said = [message for message in group.messages if message.message]
        if said:
            text = cell(said[0].message, _LONGEST_MESSAGE)
            yield Said(text, cell(group.place, _LONGEST_VALUE), said[0].number, group.n)


def shares(report: StudyReport) -> tuple[Part, ...]:
    """Returns the parts of the training time by state."""
    effort = report.effort
    total = effort.trained_s
    return tuple(
        Part(
            share.state,
            _STATES[share.state],
            count(share.n),
            count(share.n_epochs) if share.n_epochs else "-",
            duration(share.seconds) if share.seconds else "-",
            share.seconds / total if total else 0.0,
        )
        for share in effort.shares
    )


def places(report: StudyReport) -> Table:
    """Returns the machines and devices, by the time of their workers."""
    found: Sequence[Any] = report.effort.places
    rows = [
        (
            name_of(place.host),
            name_of(place.device),
            count(place.n_workers),
            duration(place.seconds),
        )
        for place in found[:_MOST_PLACES]
    ]
    if len(found) > _MOST_PLACES:
        rest = found[_MOST_PLACES:]
        n_workers, seconds = sum(p.n_workers for p in rest), sum(p.seconds for p in rest)
        rows.append((f"{len(rest)} others", "", count(n_workers), duration(seconds)))
    return Table(("machine", "device", "workers", "time"), tuple(rows))


def _value(params: Any, name: str) -> str:
    value = params.get(name)
    return "-" if value is None else cell(formatting.param(value), _LONGEST_VALUE)
