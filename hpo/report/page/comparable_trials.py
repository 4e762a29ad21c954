"""Comparable trials: values that mean the same, with the parameters that led to them.

Complete trials are comparable. Where others were stopped early, the complete ones are a choice of
the good ones, and differ less. So the values that most trials had after the same epoch are
compared, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.report.study_queries import Subject
from hpo.report.trial_details import chunks, params_of, values_of
from hpo.store.db.optuna_tables import row_to_intermediate, trial_intermediate_values, trials

MOST_TRIALS: Final = 400
"""Trials that are read; of more, evenly spaced ones."""
_MOST: Final = 0.8
"""The part of the trials that counts as most of them."""


@dataclass(frozen=True)
class ComparableTrials:
    """Trials with comparable values of one objective.

    Attributes:
        numbers: Their numbers.
        values: Finite.
        params: Those that the search chose; a trial may lack some.
        metric: Name of the objective.
        direction: ``maximize`` or ``minimize``.
        epoch: The epoch after which they have these values; None for their final values.
        n_all: Number of such trials, of which some may not be read.
    """

    numbers: tuple[int, ...]
    values: tuple[float, ...]
    params: tuple[Mapping[str, Any], ...]
    metric: str
    direction: str
    epoch: int | None
    n_all: int


def read_comparable(conn: Connection, subject: Subject) -> list[list[ComparableTrials]]:
    """Reads the comparable trials for each objective of a study.

    Returns:
        For each objective the complete trials; and, if many others were stopped early, the trials
        after an epoch that most of them reached.
    """
    query = sa.select(trials.c.trial_id, trials.c.number).where(
        trials.c.study_id == subject.study_id, trials.c.state == "COMPLETE"
    )
    complete = [tuple(row) for row in conn.execute(query.order_by(trials.c.number))]
    kept = _spaced(complete)
    values = values_of(conn, [trial_id for trial_id, _ in kept])
    found = [
        [
            _gathered(
                conn,
                {number: (i, values[i][k]) for i, number in kept if i in values},
                (subject.metrics[k], subject.directions[k], None),
                len(complete),
            )
        ]
        for k in range(len(subject.directions))
    ]
    if len(found) == 1:
        found[0] += _after_epoch(conn, subject, len(complete))
    return found


def _after_epoch(conn: Connection, subject: Subject, n_complete: int) -> Iterator[ComparableTrials]:
    """Yields the trials after an epoch that most of them reached, unless most are complete."""
    step = trial_intermediate_values.c
    own = trials.c.study_id == subject.study_id
    begun = own & trials.c.state.in_(("COMPLETE", "PRUNED", "RUNNING"))
    n_begun = conn.scalar(sa.select(sa.func.count()).where(begun)) or 0
    if n_complete >= _MOST * n_begun:
        return
    last = (
        sa.select(trials.c.trial_id, trials.c.number, sa.func.max(step.step))
        .join(trial_intermediate_values, step.trial_id == trials.c.trial_id)
        .where(own)
        .group_by(trials.c.trial_id, trials.c.number)
    )
    rows = sorted(tuple(row) for row in conn.execute(last))
    if not rows:
        return
    epoch = sorted(at for _, _, at in rows)[int((1 - _MOST) * len(rows))]
    reached = [(trial_id, number) for trial_id, number, at in rows if at >= epoch]
    kept = dict(_spaced(reached))
    found = {}
    for chunk in chunks(list(kept)):
        query = sa.select(
            step.trial_id, step.intermediate_value, step.intermediate_value_type
        ).where(step.trial_id.in_(chunk), step.step == epoch)
        for trial_id, value, kind in conn.execute(query):
            found[kept[trial_id]] = (trial_id, row_to_intermediate(value, kind))
    about = (subject.metrics[0], subject.directions[0], epoch)
    yield _gathered(conn, found, about, len(reached))


def _spaced(rows: Sequence[Any]) -> list[Any]:
    step = max(1, -(-len(rows) // MOST_TRIALS))
    return list(rows[::step])


def _gathered(
    conn: Connection,
    found: Mapping[int, tuple[int, float]],
    about: tuple[str, str, int | None],
    n_all: int,
) -> ComparableTrials:
    """Reads the parameters of trials: number -> (trial_id, value)."""
    finite = {n: (i, value) for n, (i, value) in sorted(found.items()) if math.isfinite(value)}
    of_params: dict[int, dict[str, Any]] = {}
    for chunk in chunks([i for i, _ in finite.values()]):
        of_params |= params_of(conn, chunk)
    return ComparableTrials(
        tuple(finite),
        tuple(value for _, value in finite.values()),
        tuple(of_params.get(i, {}) for i, _ in finite.values()),
        *about,
        n_all,
    )
