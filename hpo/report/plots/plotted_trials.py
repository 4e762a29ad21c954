"""Plotted trials: the trials of a study with a value, chosen so that a plot shows them quickly.

A study may have more trials than a plot can show. Then the best are shown, and of the others every
n-th. Paused and pruned trials are shown with the last value that they reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hpo.errors import HpoError, SpecError, did_you_mean
from hpo.report.learning_curves import Value, read_values
from hpo.report.pareto import pareto_front
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

REACH = 8.0
"""Values this many times as far from the best as the median are off a plot's axis."""
FAR = 3.0
"""Only values further away than this times that are left off."""
_BEST_PART = 4
"""Of the trials that a plot shows, one in this many is among the best."""
_CHUNK = 500


@dataclass(frozen=True)
class Target:
    """The objective that a plot shows.

    Attributes:
        index: Of the objective.
        metric: Its name.
        direction: ``maximize`` or ``minimize``.
    """

    index: int
    metric: str
    direction: str

    @property
    def sign(self) -> float:
        """1 if lower is better, -1 if higher is better."""
        return 1.0 if self.direction == "minimize" else -1.0


@dataclass(frozen=True)
class PlottedTrials:
    """Trials of a study that a plot shows.

    Attributes:
        values: Those shown, by number.
        trials: The same with their params, in the same order.
        n_valued: Number of trials with finite values.
        n_infinite: Number of trials left out because a value is not finite.
        n_far: Number of trials left out because their value diverged.
    """

    values: tuple[Value, ...]
    trials: tuple[FrozenTrial, ...]
    n_valued: int
    n_infinite: int = 0
    n_far: int = 0

    @cached_property
    def n_stopped(self) -> int:
        """Number of shown trials that are not complete: pruned, paused or interrupted."""
        return sum(value.state != "COMPLETE" for value in self.values)

    def summary(self, how: str = "") -> str:
        """Returns what is shown, as text: ``40 trials; 31 stopped early, with their last value``.

        Args:
            how: How a plot draws stopped trials: ``grey``.
        """
        n = len(self.values)
        text = f"{n:,} trial{'s' * (n != 1)}"
        if n < self.n_valued - self.n_far:
            text = f"{n:,} of {self.n_valued:,} trials"
        if self.n_stopped:
            drawn = f" ({how})" if how else ""
            text += f"; {self.n_stopped:,} stopped early{drawn}, with their last value"
        if self.n_far:
            text += f"; {self.n_far:,} diverged, not shown"
        if self.n_infinite:
            text += f"; {self.n_infinite:,} without a finite value, not shown"
        return text


def targets(subject: Subject, names: Sequence[str] = ()) -> tuple[Target, ...]:
    """Returns the objectives with these names; all of them without a name.

    Raises:
        SpecError: The study has no objective of this name.
    """
    found = []
    for name in names or subject.metrics:
        if name not in subject.metrics:
            listed = ", ".join(subject.metrics)
            raise SpecError(
                f"{subject.name} has no objective {name!r}{did_you_mean(name, subject.metrics)}",
                hint=f"its objectives: {listed}",
            )
        index = subject.metrics.index(name)
        found.append(Target(index, name, subject.directions[index]))
    return tuple(dict.fromkeys(found))


def read_plotted(
    db: Database,
    subject: Subject,
    chosen: Sequence[Target],
    limit: int,
    *,
    with_far: bool = False,
    spread: bool = False,
    with_front: bool = False,
) -> PlottedTrials:
    """Reads the trials that a plot shows.

    Args:
        db: The database.
        subject: The study.
        chosen: The objectives that are shown.
        limit: Maximum number of trials.
        with_far: Include values that diverged, which would squeeze the others to an axis's edge.
        spread: Choose every n-th trial, and not the best before the others.
        with_front: Include the Pareto front at any rate.

    Raises:
        HpoError: No trial has a value that can be shown.
    """
    found = read_values(db, subject)
    if not found:
        raise HpoError(
            f"{subject.name} has nothing to plot yet: no trial has a value",
            hint=f"see `hpo show {subject.name}`",
        )
    # A pruned trial of several objectives has no value of each.
    finite = [
        value
        for value in found
        if len(value.values) == len(subject.metrics)
        and all(math.isfinite(value.values[target.index]) for target in chosen)
    ]
    if not finite:
        names = ", ".join(target.metric for target in chosen)
        raise HpoError(f"no trial of {subject.name} has a finite value of {names}")
    front = _front(finite, chosen) if with_front else set()
    near = finite if with_far else _near(finite, chosen, front)
    shown = _shown(near, chosen[0], limit, front, 0 if spread else limit // _BEST_PART)
    return PlottedTrials(
        values=tuple(shown),
        trials=_read(db, subject, [value.number for value in shown]),
        n_valued=len(finite),
        n_infinite=len(found) - len(finite),
        n_far=len(finite) - len(near),
    )


def reach(costs: Sequence[float]) -> float:
    """Returns the largest cost that an axis shows; those beyond it have diverged.

    Args:
        costs: Finite values of which lower ones are better, at least one.
    """
    ordered = sorted(costs)
    best, middle, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    farthest = best + REACH * (middle - best) if middle > best else worst
    return worst if worst - best < FAR * (farthest - best) else farthest


def _front(found: Sequence[Value], chosen: Sequence[Target]) -> set[int]:
    points = {
        value.number: tuple(value.values[target.index] for target in chosen) for value in found
    }
    return set(pareto_front(points, [target.direction for target in chosen]))


def _near(found: Sequence[Value], chosen: Sequence[Target], keep: set[int]) -> list[Value]:
    limits = [
        (target, reach([target.sign * value.values[target.index] for value in found]))
        for target in chosen
    ]
    return [
        value
        for value in found
        if value.number in keep
        or all(target.sign * value.values[target.index] <= limit for target, limit in limits)
    ]


def _shown(
    found: Sequence[Value], target: Target, limit: int, keep: set[int], n_best: int
) -> list[Value]:
    """Returns at most ``limit`` trials by number: the best, and of the others every n-th."""
    if len(found) <= limit:
        return list(found)
    ranked = sorted(found, key=lambda value: target.sign * value.values[target.index])
    chosen = keep | {value.number for value in ranked[:n_best]}
    rest = [value.number for value in found if value.number not in chosen]
    n = max(0, limit - len(chosen))
    chosen |= {rest[i * len(rest) // n] for i in range(n)}
    return [value for value in found if value.number in chosen]


def _read(db: Database, subject: Subject, numbers: Sequence[int]) -> tuple[FrozenTrial, ...]:
    # Optuna takes half a second to load.
    from hpo.store.rows import trial_reader

    wanted = set(numbers)
    columns = trials.c
    query = sa.select(
        columns.trial_id,
        columns.number,
        columns.state,
        columns.datetime_start,
        columns.datetime_complete,
    ).where(columns.study_id == subject.study_id)
    with db.read() as conn, trial_reader.without_collector():
        ids = sa.select(columns.number, columns.trial_id).where(
            columns.study_id == subject.study_id
        )
        chosen = sorted(trial_id for number, trial_id in conn.execute(ids) if number in wanted)
        heads = []
        for start in range(0, len(chosen), _CHUNK):
            some = columns.trial_id.in_(chosen[start : start + _CHUNK])
            heads += [trial_reader.Head(*row) for row in conn.execute(query.where(some))]
        heads.sort(key=lambda head: head.number)
        return tuple(trial_reader.read_trials(conn, heads, intermediate=False))
