"""KDE: a sampler that compares the densities of good trials and of the others.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (TPE), NeurIPS 2011; over
all parameters at once and on the highest rung: Falkner, Klein, Hutter, "BOHB", ICML 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo.search.base.curves import Curves, Floats, Ints
from hpo.search.base.decisions import Ask
from hpo.search.base.derived_seeds import mix
from hpo.search.base.param_encoding import Encoder, Point
from hpo.search.base.proposers import Proposal, Proposer
from hpo.search.base.trial_status import is_pending
from hpo.search.model.candidates import Candidates, comparable, new_rows
from hpo.search.model.initial_design import InitialDesign
from hpo.search.model.structures import Structures
from hpo.search.model.training_set import usable


@dataclass(frozen=True)
class KDESettings:
    """Settings of the kernel density estimates; as BOHB's (Falkner et al. 2018) where it has some.

    ``benchmarks/results/lcbench.md`` has the regret of ``bohb`` with these, and
    ``benchmarks/results/ask.md`` the time of a batch.

    Attributes:
        good_share: Share of the trials that are good ones, as in BOHB.
        min_good: Fewest good trials. The initial design has twice as many trials.
        max_good: Most good trials that are compared,
        max_others: and most others, which bounds the time of a batch.
        n_at_rung: Values that an epoch needs, so that trials are compared there.
        n_candidates: Points drawn near good ones for each new point, as in BOHB.
        n_anywhere: Points drawn from the whole space beside them.
        random_share: Share of the new points that are drawn at random; BOHB has a third.
        min_width: Least bandwidth, where trials agree in a parameter.
        max_width: Largest bandwidth, of half the range.
    """

    good_share: float = 0.15
    min_good: int = 8
    max_good: int = 64
    max_others: int = 256
    n_at_rung: int = 16
    n_candidates: int = 64
    n_anywhere: int = 8
    random_share: float = 0.2
    min_width: float = 0.03
    max_width: float = 0.5


_SETTINGS: Final = KDESettings()


class KDE(Proposer):
    """Draws near good trials, where there are few others.

    Args:
        encoder: The searched parameters.
        seed: The study's.
    """

    name = "density"

    def __init__(self, encoder: Encoder, seed: int) -> None:
        self._encoder = encoder
        self._seed = seed
        self._initial_design = InitialDesign(encoder, seed)

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for new trials, all drawn from the same density estimates."""
        if not numbers:
            return Proposal([], ask.memory)
        rng = np.random.default_rng(mix(self._seed, numbers[0], curves.n_epochs))
        ranked = self._ranked(curves)
        if len(ranked) < 2 * _SETTINGS.min_good:
            first = [row for n in numbers if (row := self._initial_design.row(n)) is not None]
            return Proposal([*self._encoder.decode(np.array(first))], ask.memory)
        n_good = int(
            np.clip(_SETTINGS.good_share * len(ranked), _SETTINGS.min_good, _SETTINGS.max_good)
        )
        rest = ranked[n_good:]
        others = rest[
            np.linspace(0, len(rest) - 1, min(len(rest), _SETTINGS.max_others)).astype(int)
        ]
        pending = np.flatnonzero(is_pending(curves) & curves.has_point)
        points = curves.points
        batch = _Batch(self._encoder, points[ranked[:n_good]], points[others], rng)
        batch.add(points[pending])
        structures = Structures(self._encoder, ask.structural, ask.structure, len(numbers))
        seen = set(self._encoder.keys(points))
        rows = [row for _ in numbers if (row := batch.draw(structures, seen)) is not None]
        drawn: list[Point | None] = list(self._encoder.decode(np.array(rows))) if rows else []
        return Proposal(drawn, ask.memory)

    def _ranked(self, curves: Curves) -> Ints:
        """Returns rows by their values at the last epoch that enough trials have reached."""
        rows = usable(curves)
        if not len(rows):
            return rows
        values, epochs = curves.values[rows], curves.epochs[rows]
        enough = np.flatnonzero((np.isfinite(values)).sum(axis=0) >= _SETTINGS.n_at_rung)
        if len(enough):
            at = values[:, enough[-1]]
            compared = np.isfinite(at) | (curves.diverged[rows] & (epochs <= enough[-1] + 1))
        else:
            at = curves.best[rows]
            compared = np.ones(len(rows), dtype=bool)
        at = np.nan_to_num(at, nan=-np.inf)
        order = np.argsort(-at[compared], kind="stable")
        return np.asarray(rows[compared][order])


class _Batch:
    """Candidates and their scores, brought up to date after each choice."""

    def __init__(
        self, encoder: Encoder, good: Floats, others: Floats, rng: np.random.Generator
    ) -> None:
        self._encoder = encoder
        self._rng = rng
        self._candidates = Candidates(encoder, rng)
        self._features = encoder.features
        self._good = good
        self._good_x, self._other_x = encoder.features(good), encoder.features(others)
        self._good_width = _width(self._good_x)
        self._other_width = _width(np.concatenate([self._good_x, self._other_x]))
        self._pending: list[Floats] = []

    def add(self, rows: Floats) -> None:
        """Counts pending points among the others, [K, P]."""
        if len(rows):
            self._other_x = np.concatenate([self._other_x, self._features(rows)])

    def draw(self, structures: Structures, seen: set[bytes]) -> Floats | None:
        """Returns one new point, [P]; None when all that was drawn has been tried."""
        is_random = self._rng.random() < _SETTINGS.random_share
        anywhere = self._candidates.anywhere(_SETTINGS.n_candidates)
        rows = anywhere if is_random else self._candidates.near(self._good, _SETTINGS.n_candidates)
        rows = structures.fitted(
            np.concatenate([rows, anywhere[: _SETTINGS.n_anywhere]]), self._rng
        )
        rows = rows[new_rows(self._encoder, rows, seen)]
        if not len(rows):
            return None
        x = self._features(rows)
        score = _log_kde(x, self._good_x, self._good_width) - _log_kde(
            x, self._other_x, self._other_width
        )
        row: Floats = rows[0 if is_random else int(comparable(score).argmax())]
        structures.count(row[None])
        seen.update(self._encoder.keys(row[None]))
        self.add(row[None])
        return row


def _width(x: Floats) -> Floats:
    """Returns Scott's bandwidth of each feature, [D]."""
    n, d = x.shape
    scott = 1.06 * x.std(axis=0) * n ** (-1.0 / (4.0 + d))
    return np.asarray(np.clip(scott, _SETTINGS.min_width, _SETTINGS.max_width))


def _log_kde(x: Floats, centers: Floats, width: Floats) -> Floats:
    """Returns the logarithm of a mixture of Gaussians, up to a constant, [N]."""
    a, b = x / width, centers / width
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2.0 * a @ b.T
    exponent = -0.5 * np.maximum(square, 0.0)
    top = exponent.max(axis=1)
    sums = np.exp(exponent - top[:, None]).mean(axis=1)
    return np.asarray(top + np.log(sums) - np.log(width).sum())
