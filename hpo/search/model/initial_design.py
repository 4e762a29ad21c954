"""Initial design: the points of the first trials, before a model can be fitted."""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
import torch

from hpo.search.base.coordinates import Coordinate
from hpo.search.base.curves import Floats
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.candidates import Candidates
from hpo.search.model.model_settings import INITIAL_DESIGN


class InitialDesign:
    """A point for each number, so that no two workers begin with the same one.

    First come given points, then a scrambled Sobol sequence, which covers the space evenly. Beyond
    the usual number, as many places at once ask for, three out of four are variations of the given
    points, up to six of each. Of a space of few points each has its own number.

    Args:
        encoder: The searched parameters.
        seed: The study's.
        first: [K, P] Given points, snapped.
        n_usual: How many trials a study begins with.
    """

    def __init__(
        self, encoder: Encoder, seed: int, first: Floats | None = None, n_usual: int = 0
    ) -> None:
        self._encoder = encoder
        self._seed = seed
        self._first = np.zeros((0, len(encoder))) if first is None else first
        self._varied = range(
            max(n_usual, len(self._first)), INITIAL_DESIGN.n_variations * len(self._first)
        )

    @cached_property
    def _all(self) -> Floats | None:
        return (
            self._every_point()
            if 1 < self._encoder.n_points <= INITIAL_DESIGN.max_enumerated
            else None
        )

    @property
    def n_first(self) -> int:
        """The number of points given so far."""
        return len(self._first)

    def row(self, number: int) -> Floats | None:
        """Returns the point of a trial, [P] and snapped; None beyond a finite space's last one."""
        if self._all is not None:
            row: Floats | None = self._all[number] if number < len(self._all) else None
            return row
        if number < len(self._first):
            rows = self._first[number : number + 1]
        elif number in self._varied and number % INITIAL_DESIGN.even_every:
            rows = self._variation(number)
        else:
            rows = quasi_random_point(self._encoder, self._seed, number)
        return np.asarray(rows[0])

    def another(self, number: int) -> Floats | None:
        """Returns a point for a trial whose own one was tried, [P]; None in a finite space."""
        if self._all is not None:
            return None
        point = quasi_random_point(self._encoder, self._seed, INITIAL_DESIGN.max_sequence + number)
        return np.asarray(point[0])

    def _variation(self, number: int) -> Floats:
        """Returns a given point moved, given ones crossed, or one with new coordinates, [1, P]."""
        rng = np.random.default_rng([self._seed, number])
        candidates = Candidates(self._encoder, rng)
        way = rng.integers(3)
        if way == 0:
            return candidates.near(self._first, 1)
        if way == 1:
            return candidates.crossed(self._first, 1)
        return candidates.jumps(self._first, 1)

    def _every_point(self) -> Floats:
        encoder = self._encoder
        rows = np.array(list(itertools.product(*map(_coordinates, encoder.columns))))
        rows = encoder.snap(rows.reshape(len(rows), len(encoder)))
        rows = np.random.default_rng(self._seed).permutation(rows)
        rows = np.concatenate([self._first, rows])
        unique = dict(zip(reversed(encoder.keys(rows)), range(len(rows) - 1, -1, -1), strict=True))
        return np.asarray(rows[sorted(unique.values())])


def _coordinates(column: Coordinate) -> list[float]:
    if column.n_choices:
        return [float(i) for i in range(column.n_choices)]
    n = int(column.n_values)
    return [(i + 0.5) / n for i in range(n)]


def quasi_random_point(encoder: Encoder, seed: int, number: int) -> Floats:
    """Returns a point of an evenly spread sequence, [1, P] and snapped."""
    n_columns = max(1, len(encoder))
    if n_columns <= torch.quasirandom.SobolEngine.MAXDIM and number < INITIAL_DESIGN.max_sequence:
        engine = torch.quasirandom.SobolEngine(n_columns, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        engine.fast_forward(number)  # type: ignore[no-untyped-call]
        units = engine.draw(1, dtype=torch.float64).numpy()
    else:
        units = np.random.default_rng([seed, number]).random((1, n_columns))
    return encoder.snap(encoder.stretched(units[:, : len(encoder)]))
