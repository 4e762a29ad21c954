"""Warm start: first points from earlier studies that searched similar parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from typing import Any, Final

import numpy as np

from hpo.search.base.coordinates import Floats
from hpo.search.base.curves import State
from hpo.search.base.history import ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.portfolio import OPTIMIZER, Portfolio
from hpo.spec.space.search_space import Fixed, SearchSpace
from hpo.spec.study_spec import StudySpec

# Of each study a few points that differ, of all studies not many: a misleading one then costs
# no more than that many short trainings.
_OF_EACH, _OF_ALL, _OF_BASE = 3, 6, 4
_FEWEST_TRIALS: Final = 10
_SIMILAR: Final = 0.5
_APART: Final = 0.2


@dataclass(frozen=True)
class Source:
    """An earlier study whose points may be used.

    Attributes:
        spec: Its description.
        rows: Its trials.
    """

    spec: StudySpec
    rows: Sequence[ObservedTrial]


def learn(spec: StudySpec, sources: Iterable[Source], base: Portfolio) -> Portfolio:
    """Returns first points for a study, those of similar studies before the usual ones.

    A study is similar if it has at least half of this one's searched parameters, by their names.
    Its points are not trusted: they are trained for a while, like others, and what the
    model sees then decides.

    Args:
        spec: The study that begins.
        sources: Studies to learn from.
        base: Points that come with the package.
    """
    ranked = sorted(
        (source for source in sources if _is_usable(source)),
        key=lambda source: (-similarity(spec.space, source.spec.space, base), source.spec.name),
    )
    similar = [s for s in ranked if similarity(spec.space, s.spec.space, base) >= _SIMILAR]
    turns = zip_longest(*(_best(source, base) for source in similar))
    learnt = [point for point in chain.from_iterable(turns) if point is not None][:_OF_ALL]
    if not learnt:
        return base
    names = {name: [name] for point in learnt for name in point}
    used = tuple(source.spec.name for source in similar[:_OF_ALL])
    return Portfolio(
        f"{base.version}, {', '.join(used)}",
        {**names, **base.names},
        [*learnt, *base.points[:_OF_BASE]],
        used,
    )


def similarity(space: SearchSpace, other: SearchSpace, base: Portfolio) -> float:
    """Returns which share of a space's searched parameters another one has too."""
    searched = [n for n in space if not isinstance(space[n], Fixed)]
    known = {base.usual_name(name) for name in other}
    return sum(base.usual_name(n) in known for n in searched) / len(searched) if searched else 0.0


def to_json(portfolio: Portfolio) -> str:
    """Returns a portfolio as text, to be kept with its study."""
    return json.dumps(asdict(portfolio), separators=(",", ":"))


def from_json(text: str) -> Portfolio:
    """Reads what ``to_json`` wrote."""
    table = json.loads(text)
    return Portfolio(**{**table, "sources": tuple(table["sources"])})


def _is_usable(source: Source) -> bool:
    return len(source.spec.directions) == 1 and len(_complete(source)) >= _FEWEST_TRIALS


def _complete(source: Source) -> list[ObservedTrial]:
    return [
        row
        for row in source.rows
        if row.state in (State.COMPLETE, State.PRUNED) and math.isfinite(_height(row, source.spec))
    ]


def _height(row: ObservedTrial, spec: StudySpec) -> float:
    """Returns a trial's value, larger being better; minus infinity if it has none."""
    sign = 1.0 if spec.directions[0] == "maximize" else -1.0
    values = [sign * value for value in row.values.values() if math.isfinite(value)]
    values += [] if row.final is None else [sign * row.final]
    return max(values, default=-math.inf)


def _best(source: Source, base: Portfolio) -> list[dict[str, Any]]:
    """Returns the best points of a study that lie apart from each other."""
    encoder = Encoder.of_space(source.spec.space)
    fixed = {
        name: parameter.value
        for name, parameter in source.spec.space.parameters.items()
        if isinstance(parameter, Fixed)
    }
    rows = sorted(_complete(source), key=lambda row: -_height(row, source.spec))
    features = encoder.features(encoder.encode([row.params for row in rows]))
    chosen: list[int] = []
    for i in range(len(rows)):
        if len(chosen) < _OF_EACH and _is_apart(features[i], features[chosen]):
            chosen.append(i)
    return [_entry({**fixed, **rows[i].params}, base) for i in chosen]


def _is_apart(point: Floats, others: Floats) -> bool:
    return not len(others) or bool(np.linalg.norm(others - point, axis=1).min() > _APART)


def _entry(point: Mapping[str, Any], base: Portfolio) -> dict[str, Any]:
    entry = {base.usual_name(name): value for name, value in point.items()}
    if OPTIMIZER in entry:
        entry[OPTIMIZER] = [str(entry[OPTIMIZER])]
    return entry
