"""Candidates: new points anywhere, at the ends of ranges, and near good ones."""

from __future__ import annotations

import numpy as np

from hpo.search.base.curves import Bools, Floats, Ints
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.model_settings import CANDIDATES


class Candidates:
    """Draws candidates from a stream of random numbers.

    Args:
        encoder: The searched parameters.
        rng: The stream.
    """

    def __init__(self, encoder: Encoder, rng: np.random.Generator) -> None:
        self._encoder = encoder
        self._rng = rng
        self._n_choices = encoder.n_choices

    def anywhere(self, n: int) -> Floats:
        """Returns points from the whole space, some coordinates at an end, [n, P] and snapped."""
        rows = self._scale(self._rng.random((n, len(self._encoder))))
        return self._encoder.snap(self._to_ends(rows, CANDIDATES.end_share))

    def near(self, tops: Floats, n: int) -> Floats:
        """Returns points near good ones, [n, P] and snapped.

        Steps are of many sizes, in some of the coordinates; where a coordinate is close to an
        end of its range, its distance to that end is as often multiplied as moved.

        Args:
            tops: [K, P] Good points, snapped.
            n: How many.
        """
        rng, shape = self._rng, (n, len(self._encoder))
        base = self._filled(tops[rng.integers(len(tops), size=n)])
        size = np.exp(rng.uniform(np.log(CANDIDATES.min_step), np.log(CANDIDATES.max_step), (n, 1)))
        moved = rng.random(shape) < rng.choice(CANDIDATES.moved_shares, size=(n, 1))
        shift = rng.standard_normal(shape) * size * moved
        low_half = base < 0.5
        to_end = np.where(low_half, base, 1.0 - base)
        nearest = 10.0**CANDIDATES.log10_nearest_end * (rng.random(shape) < 0.5)
        scaled = np.maximum(to_end, nearest) * np.exp(CANDIDATES.scaled_strength * shift)
        stretched = np.where(low_half, scaled, 1.0 - scaled)
        is_scaled = (rng.random(shape) < CANDIDATES.scaled_share) & moved
        rows = np.clip(np.where(is_scaled, stretched, base + shift), 0.0, 1.0)
        rows = self._to_ends(rows, CANDIDATES.near_end_share)
        return self._encoder.snap(self._rechosen(rows, base, rng.random(shape) < size * moved))

    def jumps(self, tops: Floats, n: int) -> Floats:
        """Returns good points with one or two coordinates drawn anew, [n, P] and snapped."""
        rng, n_columns = self._rng, len(self._encoder)
        base = self._filled(tops[rng.integers(len(tops), size=n)])
        fresh = self._scale(self._to_ends(rng.random((n, n_columns)), CANDIDATES.end_share))
        order = rng.random((n, n_columns)).argsort(axis=1)
        drawn = order < rng.integers(1, 3, size=(n, 1))
        return self._encoder.snap(np.where(drawn, fresh, base))

    def crossed(self, tops: Floats, n: int) -> Floats:
        """Returns points of which each coordinate is some good one's, [n, P] and snapped."""
        base = self._filled(tops)
        picks = self._rng.integers(len(tops), size=(n, len(self._encoder)))
        return self._encoder.snap(np.take_along_axis(base, picks, axis=0))

    def _filled(self, rows: Floats) -> Floats:
        """Gives coordinates that do not apply a value, in case they will."""
        return np.where(np.isnan(rows), self._scale(self._rng.random(rows.shape)), rows)

    def _scale(self, units: Floats) -> Floats:
        return self._encoder.stretched(units)

    def _to_ends(self, rows: Floats, share: float) -> Floats:
        rng = self._rng
        is_moved = (rng.random(rows.shape) < share) & (self._n_choices == 0)
        is_exact = rng.random(rows.shape) < CANDIDATES.exact_end_share
        low, high = CANDIDATES.log10_nearest_end, CANDIDATES.log10_farthest_end
        distance = np.where(is_exact, 0.0, 10.0 ** rng.uniform(low, high, rows.shape))
        ends = np.where(rng.random(rows.shape) < 0.5, distance, 1.0 - distance)
        return np.where(is_moved, ends, rows)

    def _rechosen(self, rows: Floats, base: Floats, is_redrawn: Bools) -> Floats:
        """Keeps the choices of categorical parameters, but for some that are drawn anew."""
        fresh = np.floor(self._rng.random(rows.shape) * np.maximum(self._n_choices, 1))
        choices = np.where(is_redrawn, fresh, base)
        return np.where(self._n_choices > 0, choices, rows)


def new_rows(encoder: Encoder, rows: Floats, seen: set[bytes]) -> Ints:
    """Returns the indices of rows that are neither seen nor double.

    A space of a single point has no others: its trials differ by their seeds alone.
    """
    if encoder.n_points <= 1:
        return np.arange(len(rows), dtype=np.int64)
    met = set(seen)
    fresh = []
    for i, key in enumerate(encoder.keys(rows)):
        if key not in met:
            met.add(key)
            fresh.append(i)
    return np.array(fresh, dtype=np.int64)


def comparable(scores: Floats) -> Floats:
    """Returns scores without the digits that a number of threads or a processor may change.

    Neighbours often differ by no more than these: the first of equal ones is the same everywhere,
    so that a choice can be made again.
    """
    return np.round(scores, CANDIDATES.n_digits)
