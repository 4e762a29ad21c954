"""Endings summary: how trials ended other than by completion, with their messages."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.text.formatting import last_line
from hpo.store.db.hpo_tables import hpo_event
from hpo.store.db.optuna_tables import name_of, trials

N_READ = 1_000
"""Number of latest trials whose messages are read; reasons are counted over all trials."""
N_MESSAGES = 20
"""Maximum number of different messages kept for one reason."""
TAIL = 2_000
"""Number of characters read from the end of a message, where its meaning is."""


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
class Ending:
    """One way in which trials of a study ended, other than completion.

    Attributes:
        state: PRUNED or FAIL.
        kind: Kind of their last event; the state for trials without events.
        n: Number of these trials.
        number: The latest of them.
        message: The message of its event.
        messages: The different messages of all their events, most frequent first.
    """

    state: str
    kind: str
    n: int
    number: int
    message: str
    messages: tuple[Message, ...] = ()


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
    return tuple(replace(each, messages=said.get((each.state, each.kind), ())) for each in found)


def _last_events(study_id: int) -> sa.Select[tuple[int, str, int]]:
    """Selects the trials that ended without completion, and the last event of each."""
    event = hpo_event.c
    return (
        sa.select(trials.c.trial_id, trials.c.state, sa.func.max(event.event_id).label("event_id"))
        .outerjoin(hpo_event, event.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state.in_(("PRUNED", "FAIL")))
        .group_by(trials.c.trial_id, trials.c.state)
    )


def _messages(conn: Connection, study_id: int) -> dict[tuple[str, str], tuple[Message, ...]]:
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
    found: dict[tuple[str, str], dict[str, Message]] = defaultdict(dict)
    for state, kind, number, text in conn.execute(query):
        of_kind, line = found[state, kind], last_line(text)
        before = of_kind.get(line, Message(0, number, line))
        of_kind[line] = replace(before, n=before.n + 1)
    return {
        key: tuple(sorted(said.values(), key=lambda each: -each.n))[:N_MESSAGES]
        for key, said in found.items()
    }
