"""Inferred space: the search space of an objective, by what its trials have asked for.

An objective names its parameters while it runs, so they are not known beforehand. What its trials
have drawn tells the ranges, and which parameters apply only where another one has some value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from hpo.search.base.coordinates import Coordinate, Floats
from hpo.search.base.param_encoding import Conditions, Encoder
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.study_spec import StudySpec

# Ranges may follow from other parameters, or change for good: so many trials tell the present one.
_RECENT = 8
# A whole number with more values than this is taken for no parent.
_MOST_VALUES = 64

Kinds = Mapping[str, BaseDistribution]
Points = Sequence[Mapping[str, Any]]


def inferred_distributions(trials: Sequence[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Returns the parameters of all trials, those that most trials have first.

    A range spans those of the latest trials. Parameters with a single value are left out.
    """
    seen: dict[str, list[BaseDistribution]] = {}
    counts: dict[str, int] = {}
    for trial in sorted(trials, key=lambda one: -one.number):
        for name, kind in trial.distributions.items():
            seen.setdefault(name, []).append(kind)
            counts[name] = counts.get(name, 0) + 1
    kinds = {name: _spanning(seen[name][:_RECENT]) for name in sorted(seen)}
    order = sorted(kinds, key=lambda name: -counts[name])
    return {name: kinds[name] for name in order if not kinds[name].single()}


def known_space(spec: StudySpec) -> SearchSpace:
    """Returns the space that a study's trials draw from; an empty one where they find it.

    An objective names its parameters while it runs, whatever its study file says of them.
    """
    return spec.space if spec.objective is None else SearchSpace()


class InferredSpace:
    """What the trials of an objective have asked for, as they tell it one after another.

    Attributes:
        encoder: Of the parameters that are known; of none before the first trial asks.
    """

    def __init__(self) -> None:
        self.encoder = Encoder(())
        self._trials: dict[int, FrozenTrial] = {}
        self._n_asked: dict[int, tuple[int, bool]] = {}

    def update(self, trials: Sequence[FrozenTrial]) -> bool:
        """Enters trials that are new or may have changed; returns whether the encoder has."""
        is_new = False
        for trial in trials:
            self._trials[trial.number] = trial
            asked = (len(trial.distributions), has_reported(trial))
            is_new |= self._n_asked.get(trial.number, (0, False)) != asked
            self._n_asked[trial.number] = asked
        if not is_new:
            return False
        known = list(self._trials.values())
        found = _in_order(
            inferred_distributions(known), [t.params for t in known if has_reported(t)]
        )
        if found.to_table() == self.encoder.to_table():
            return False
        self.encoder = found
        return True


def has_reported(trial: FrozenTrial) -> bool:
    """Returns whether a trial has reported or is complete, so that it has asked for its params."""
    return trial.state == TrialState.COMPLETE or bool(trial.intermediate_values)


def rows_of(points: Points, encoder: Encoder) -> Floats:
    """Returns the coordinates of points, [N, P]; all NaN for those that are not of the space."""
    rows = encoder.encode(points)
    for row, point in zip(rows, points, strict=True):
        # A range has changed in between: a point with a value outside of it is none of these.
        lacking = np.isnan(row)
        asked = [name in point for name in encoder.names]
        if (lacking & asked).any() or (lacking.any() and not encoder.has_conditions):
            row[:] = np.nan
    return rows


def encoder_of(kinds: Kinds, trials: Sequence[FrozenTrial]) -> Encoder:
    """Returns the encoder of parameters, with the conditions under which they seem to apply."""
    points = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
    having = {name: sum(name in point for point in points) for name in kinds}
    order = sorted(kinds, key=lambda name: -having[name])
    columns = [Coordinate.of(name, kinds[name]) for name in order]
    return Encoder(columns, {name: _conditions(name, kinds, points) for name in order})


def _in_order(kinds: Kinds, points: Points) -> Encoder:
    """Returns the encoder of parameters by their names, parents before children.

    The order depends on nothing else: a model that was fitted to a part of the trials fits all.
    """
    conditions = {name: _conditions(name, kinds, points) for name in sorted(kinds)}
    order: list[str] = []
    while len(order) < len(kinds):
        rest = [name for name in conditions if name not in order]
        ready = [name for name in rest if all(parent in order for parent in conditions[name])]
        order.append((ready or rest)[0])
    return Encoder([Coordinate.of(name, kinds[name]) for name in order], conditions)


def _spanning(kinds: Sequence[BaseDistribution]) -> BaseDistribution:
    """Returns a distribution that holds the values of several, like the first of them."""
    first = kinds[0]
    if isinstance(first, CategoricalDistribution):
        return first
    assert isinstance(first, FloatDistribution | IntDistribution)
    alike = [k for k in kinds if type(k) is type(first) and _form(k) == _form(first)]
    low, high = min(k.low for k in alike), max(k.high for k in alike)
    if isinstance(first, IntDistribution):
        if (low, high) == (first.low, first.high) or first.step != 1:
            return first
        return IntDistribution(int(low), int(high), log=first.log)
    if first.step is not None:
        return first
    return FloatDistribution(low, high, log=first.log)


def _form(kind: Any) -> tuple[bool, float | None]:
    return kind.log, kind.step


def _conditions(name: str, kinds: Kinds, points: Points) -> Conditions:
    """Returns the values of other parameters that a parameter needs, by what complete trials have.

    Parents are chosen one by one, the one that explains most of what is missing first.
    """
    having = [point for point in points if name in point]
    missing = [point for point in points if name not in point]
    if not having or not missing:
        return {}
    allowed = {
        parent: _allowed(kind, [p[parent] for p in having], _values(parent, missing))
        for parent, kind in kinds.items()
        if _may_be_parent(kind) and all(parent in point for point in having)
    }
    # One that every trial with this parameter has, and no other, is its sibling.
    allowed = {p: v for p, v in allowed.items() if len(_values(p, points)) > len(having)}
    conditions: dict[str, tuple[Any, ...]] = {}
    while missing and allowed:
        best = max(allowed, key=lambda parent: _n_excluded(parent, allowed[parent], missing))
        if not _n_excluded(best, allowed[best], missing):
            break
        conditions[best] = allowed.pop(best)
        missing = [p for p in missing if best in p and p[best] in conditions[best]]
    return conditions


def _may_be_parent(kind: BaseDistribution) -> bool:
    if isinstance(kind, IntDistribution):
        return (kind.high - kind.low) // kind.step < _MOST_VALUES
    return isinstance(kind, CategoricalDistribution)


def _allowed(
    kind: BaseDistribution, having: Sequence[Any], missing: Sequence[Any]
) -> tuple[Any, ...]:
    """Returns the values of a parent with which a parameter was asked for, or may be.

    Args:
        kind: The parent.
        having: Its values in trials that have the parameter.
        missing: Its values in trials that do not.
    """
    if isinstance(kind, CategoricalDistribution):
        return tuple(c for c in kind.choices if c in having or c not in missing)
    assert isinstance(kind, IntDistribution)
    yes, no = set(having), set(missing) - set(having)
    values = range(kind.low, kind.high + 1, kind.step)
    return tuple(v for v in islice(values, _MOST_VALUES) if _apart(v, yes) <= _apart(v, no))


def _apart(value: int, others: set[Any]) -> float:
    return min((abs(value - other) for other in others), default=float("inf"))


def _values(name: str, points: Points) -> list[Any]:
    return [point[name] for point in points if name in point]


def _n_excluded(parent: str, allowed: tuple[Any, ...], points: Points) -> int:
    return sum(parent not in point or point[parent] not in allowed for point in points)
