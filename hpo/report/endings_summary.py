"""Endings summary: how trials ended other than by completion, grouped by exception and place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.text.formatting import last_line
from hpo.report.trials.failure_places import FailurePlace, place_in
from hpo.store.db.hpo_tables import hpo_event
from hpo.store.db.optuna_tables import name_of, trials

N_READ = 5_000
"""Number of latest trials whose messages are read; reasons are counted over all trials."""
N_MESSAGES = 20
"""Maximum number of different messages kept for one reason."""
N_NUMBERS = 20
"""Maximum number of trials named for one group."""
TAIL = 6_000
"""Number of characters read from the end of a message, where its meaning is: below the user's line
a traceback may have a dozen lines of libraries."""


@dataclass(frozen=True)
class Message:
    """A message of trials that ended.

    Attributes:
        n: Number of these trials.
        number: The latest of them.
        message: The last line of their event.
    """

    n: int
    number: int
    message: str


@dataclass(frozen=True)
class Group:
    """Trials that ended by the same exception at the same place.

    Attributes:
        exception: Class of the exception; empty if there was none.
        place: The innermost line of the user's code: ``mine.py:12 in model``; empty if unknown.
        n: Number of these trials.
        numbers: The latest of them, ascending.
        messages: Their different messages, most frequent first.
    """

    exception: str
    place: str
    n: int
    numbers: tuple[int, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Ending:
    """One way in which trials of a study ended, other than completion.

    Attributes:
        state: PRUNED or FAIL.
        kind: Kind of their last event; the state for trials without events.
        n: Number of these trials.
        number: The latest of them.
        message: The message of its event.
        messages: The different messages of all their events, most frequent first.
        groups: The trials by exception and place, largest group first. Like the messages, they are
            those of the latest trials.
    """

    state: str
    kind: str
    n: int
    number: int
    message: str
    messages: tuple[Message, ...] = ()
    groups: tuple[Group, ...] = ()


def endings_of(conn: Connection, study_id: int) -> tuple[Ending, ...]:
    """Returns how trials ended PRUNED or FAIL, most frequent first."""
    event, last = hpo_event.c, _last_events(study_id).subquery()
    groups = (
        sa.select(
            last.c.state,
            event.kind,
            sa.func.count().label("n"),
            sa.func.max(last.c.trial_id).label("trial_id"),
            sa.func.max(last.c.event_id).label("event_id"),
        )
        .outerjoin(hpo_event, event.event_id == last.c.event_id)
        .group_by(last.c.state, event.kind)
        .subquery()
    )
    query = (
        sa.select(
            name_of(groups.c.state), groups.c.kind, groups.c.n, trials.c.number, event.message
        )
        .outerjoin(hpo_event, event.event_id == groups.c.event_id)
        .join(trials, trials.c.trial_id == sa.func.coalesce(event.trial_id, groups.c.trial_id))
        .order_by(groups.c.n.desc(), groups.c.kind)
    )
    found = [
        Ending(state, kind or state, n, number, message or "")
        for state, kind, n, number, message in conn.execute(query)
    ]
    if not found:
        return ()
    said = _messages(conn, study_id)
    return tuple(_with_messages(each, said[each.state, each.kind]) for each in found)


def _with_messages(ending: Ending, said: Iterable[tuple[int, str]]) -> Ending:
    """Adds the messages of an ending's trials, given as number and text, the latest first."""
    groups: dict[FailurePlace, list[tuple[int, str]]] = defaultdict(list)
    every = [(number, last_line(text), place_in(text)) for number, text in said]
    for number, line, place in every:
        groups[place].append((number, line))
    found = (
        Group(
            *place,
            n=len(own),
            numbers=tuple(sorted(number for number, _ in own[:N_NUMBERS])),
            messages=_counted(own),
        )
        for place, own in groups.items()
    )
    return replace(
        ending,
        messages=_counted((number, line) for number, line, _ in every),
        groups=tuple(sorted(found, key=lambda group: -group.n)),
    )


def _counted(said: Iterable[tuple[int, str]]) -> tuple[Message, ...]:
    found: dict[str, Message] = {}
    for number, line in said:
        before = found.get(line, Message(0, number, line))
        found[line] = replace(before, n=before.n + 1)
    return tuple(sorted(found.values(), key=lambda each: -each.n))[:N_MESSAGES]


def _last_events(study_id: int) -> sa.Select[tuple[int, str, int]]:
    """Selects the trials that ended without completion, and the last event of each."""
    event = hpo_event.c
    return (
        sa.select(trials.c.trial_id, trials.c.state, sa.func.max(event.event_id).label("event_id"))
        .outerjoin(hpo_event, event.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state.in_(("PRUNED", "FAIL")))
        .group_by(trials.c.trial_id, trials.c.state)
    )


def _messages(conn: Connection, study_id: int) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Returns number and message of the latest trials, by state and kind, the latest first."""
    event, last = hpo_event.c, _last_events(study_id).subquery()
    is_sqlite = conn.dialect.name == "sqlite"
    tail = sa.func.substr(event.message, -TAIL) if is_sqlite else sa.func.right(event.message, TAIL)
    query = (
        sa.select(name_of(last.c.state), event.kind, trials.c.number, tail)
        .join(hpo_event, event.event_id == last.c.event_id)
        .join(trials, trials.c.trial_id == last.c.trial_id)
        .order_by(event.event_id.desc())
        .limit(N_READ)
    )
    found: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for state, kind, number, text in conn.execute(query):
        found[state, kind].append((number, text))
    return found
