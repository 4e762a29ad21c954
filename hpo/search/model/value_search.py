"""Value search: Bayesian optimisation of trials that have one value each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hpo.search.base.coordinates import Floats
from hpo.search.base.curves import Curves, Ints, State
from hpo.search.base.derived_seeds import mix, uniforms
from hpo.search.base.param_encoding import Encoder, Point
from hpo.search.base.trial_status import is_pending
from hpo.search.model.candidates import Candidates, comparable, new_rows
from hpo.search.model.initial_design import InitialDesign
from hpo.search.model.model_settings import FREEZE_THAW, TRAINING_SET
from hpo.search.model.training_set import OutputWarping, usable
from hpo.search.model.value_gp import (
    GPHyperparameters,
    ValueGP,
    fit_hyperparameters,
    log_improvement,
    maximised_improvement,
)


@dataclass(frozen=True)
class ValueSearchSettings:
    """Settings of the search of values: its training set and the maximisation of its acquisition.

    ``benchmarks/objectives.py`` measures a change, and ``tests/promises/test_search_outcomes.py``
    holds what the search finds with these.

    Attributes:
        n_max: Most values of the training set. An exact Gaussian process takes time by their cube.
        n_fit: Of these, the values to which the hyperparameters are fitted.
        n_anywhere: Candidates from the whole space.
        n_near: Candidates near the best trials.
        n_jumps: Candidates that differ from the best trials in one or two parameters.
        n_tops: How many trials are the best ones.
        n_local_starts: Best candidates from which L-BFGS begins.
        n_local: Candidates near these, for a second round.
    """

    n_max: int = 300
    n_fit: int = 120
    n_anywhere: int = 400
    n_near: int = 200
    n_jumps: int = 60
    n_tops: int = 6
    n_local_starts: int = 4
    n_local: int = 120


VALUE_SEARCH: Final = ValueSearchSettings()


class ByValues:
    """Some of the new points of a search that pauses trials, by a model of final values alone.

    A model of whole curves may get sure of a wrong effect of the params, and would then propose the
    same corner of the space again and again.

    Args:
        search: Proposes them.
        seed: The study's.
        share: How many of the new points, as a share.
    """

    def __init__(self, search: ValueSearch, seed: int, share: float) -> None:
        self._search, self._seed, self._share = search, mix(seed, 1), share

    def propose(self, curves: Curves, numbers: Sequence[int], long: int) -> dict[int, Point]:
        """Returns points for some of the new trials that have, or will have, these numbers.

        Args:
            curves: All trials.
            numbers: Of the new ones.
            long: Epochs after which the end of a curve can be told. Before, some choices look
                worse than they are, and would stay so without others to compare. Shorter curves are
                left out once there are enough others.
        """
        shares = uniforms(self._seed, numbers)
        chosen = [n for n, share in zip(numbers, shares, strict=True) if share < self._share]
        if not chosen:
            return {}
        values = final_values(curves)
        is_long = curves.diverged | (curves.epochs >= long)
        if is_long.sum() >= FREEZE_THAW.min_initial:
            values = replace(values, epochs=np.where(is_long, values.epochs, 0))
        found = self._search.propose(values, chosen)
        return {n: point for n, point in zip(chosen, found, strict=True) if point is not None}


def final_values(curves: Curves) -> Curves:
    """Returns curves of a single epoch: the value of each trial at the horizon.

    A trial that ended or stands before the horizon is expected to change from there on by the
    median of what complete trials did. It never counts as better than the best of them.
    """
    is_complete = (curves.states == State.COMPLETE) & (curves.epochs > 0)
    ends = curves.last[is_complete]
    values = curves.last.copy()
    for epoch in np.unique(curves.epochs[curves.epochs > 0]):
        changes = ends - curves.at(epoch)[is_complete]
        changes = changes[np.isfinite(changes)]
        values[curves.epochs == epoch] += np.median(changes) if len(changes) else 0.0
    values[is_complete] = ends
    ends = ends[np.isfinite(ends)]
    values = np.minimum(values, ends.max() if len(ends) else np.inf)
    return replace(curves, epochs=np.minimum(curves.epochs, 1), values=values[:, None], horizon=1)


@dataclass(frozen=True)
class _Data:
    """What was seen, as a model takes it: features, values, and its hyperparameters."""

    x: Floats
    z: Floats
    hyper: GPHyperparameters


class ValueSearch:
    """Proposes by the expected improvement of a Gaussian process over params.

    Everything follows from the trials and the seed, nothing from who asks: a worker knows what
    another one will draw from the same trials.

    Args:
        encoder: The searched parameters.
        seed: The study's.
        n_initial: Trials that begin before the model is asked; 0 for the usual number.
    """

    def __init__(self, encoder: Encoder, seed: int, n_initial: int = 0) -> None:
        self._encoder, self._seed = encoder, seed
        self._n_initial = n_initial or FREEZE_THAW.n_initial(len(encoder))
        self._initial_design = InitialDesign(encoder, seed)

    def propose(self, curves: Curves, numbers: Sequence[int]) -> list[Point | None]:
        """Returns params for trials with these numbers; None where no new point is left."""
        seen = set(self._encoder.keys(curves.points))
        rows: list[Floats | None] = []
        late = [number for number in numbers if number >= self._n_initial]
        model = self._model(curves) if late else None
        pending = curves.points[is_pending(curves) & curves.has_point]
        if model is not None and len(pending):
            model = model.with_pending(self._encoder.features(pending))
        for number in numbers:
            row = self._first(number, seen) if number < self._n_initial or model is None else None
            if row is None and model is not None:
                rng = np.random.default_rng(mix(self._seed, number))
                row = self._best(model, curves, seen, rng)
            if row is not None:
                seen.update(self._encoder.keys(row[None]))
                if model is not None:
                    model = model.with_pending(self._encoder.features(row[None]))
            rows.append(row)
        return [None if row is None else self._encoder.decode(row[None])[0] for row in rows]

    def _first(self, number: int, seen: set[bytes]) -> Floats | None:
        row = self._initial_design.row(number)
        if row is not None and len(new_rows(self._encoder, row[None], seen)):
            return row
        candidates = Candidates(self._encoder, np.random.default_rng(mix(self._seed, number)))
        rows = candidates.anywhere(VALUE_SEARCH.n_anywhere)
        fresh = new_rows(self._encoder, rows, seen)
        return np.asarray(rows[fresh[0]]) if len(fresh) else None

    def _model(self, curves: Curves) -> ValueGP | None:
        rows = usable(curves)
        values = np.where(curves.diverged[rows], -np.inf, curves.last[rows])
        if np.isfinite(values).sum() < 2:
            return None
        chosen = _chosen(values, VALUE_SEARCH.n_max)
        x, y = self._encoder.features(curves.points[rows[chosen]]), values[chosen]
        y = np.maximum(y, y[np.isfinite(y)].min())
        learnt = np.linspace(0, len(y) - 1, min(len(y), VALUE_SEARCH.n_fit)).round().astype(int)
        found = max((_fitted(x, y, z, learnt) for z in _scaled(y)), key=lambda one: one[1])
        return ValueGP(x, found[0].z, found[0].hyper)

    def _best(
        self, model: ValueGP, curves: Curves, seen: set[bytes], rng: np.random.Generator
    ) -> Floats | None:
        encoder, candidates = self._encoder, Candidates(self._encoder, rng)
        best = float(model.fitted.max())
        ranked = usable(curves)
        ranked = ranked[np.argsort(-np.nan_to_num(curves.last[ranked], nan=-np.inf), kind="stable")]
        tops = curves.points[ranked[: VALUE_SEARCH.n_tops]]
        parts = [
            candidates.anywhere(VALUE_SEARCH.n_anywhere),
            candidates.near(tops, VALUE_SEARCH.n_near),
        ]
        rows = np.concatenate([*parts, candidates.jumps(tops, VALUE_SEARCH.n_jumps)])
        for last in (False, True):
            rows = rows[new_rows(encoder, rows, seen)]
            if not len(rows):
                return None
            scores = comparable(log_improvement(*model.predict(encoder.features(rows)), best))
            rows = rows[np.argsort(-scores, kind="stable")[: VALUE_SEARCH.n_local_starts]]
            moved = np.stack([self._improved(model, row, best) for row in rows])
            around = [] if last else [candidates.near(rows, VALUE_SEARCH.n_local)]
            rows = np.concatenate([rows, moved, *around])
        rows = rows[new_rows(encoder, rows, seen)]
        scores = comparable(log_improvement(*model.predict(encoder.features(rows)), best))
        return np.asarray(rows[int(scores.argmax())])

    def _improved(self, model: ValueGP, row: Floats, best: float) -> Floats:
        """Returns a row with its real numbers moved to where more is expected, snapped."""
        encoder = self._encoder
        is_real = np.array([np.isinf(column.n_values) for column in encoder.columns])
        real = np.flatnonzero(is_real & ~np.isnan(row))
        if not len(real):
            return row
        free = np.flatnonzero(np.isin(encoder.owners, real))
        x = maximised_improvement(model, encoder.features(row[None])[0], free, best)
        moved = np.where(np.isnan(row), 0.0, row)
        moved[real] = x[free]
        return np.asarray(encoder.snap(moved[None])[0])


def _chosen(values: Floats, n: int) -> Ints:
    """Returns the indices of at most ``n`` values: the best half, and some of every rank."""
    ranked = np.argsort(-values, kind="stable")
    if len(ranked) <= n:
        return ranked
    rest = ranked[n // 2 :]
    spread = rest[np.linspace(0, len(rest) - 1, n - n // 2).round().astype(int)]
    return np.concatenate([ranked[: n // 2], spread])


def _scaled(y: Floats) -> list[tuple[Floats, float]]:
    """Returns values on two scales, each with the logarithm of how much it stretches them.

    As they are; and with those close to the best spread out, for values over powers of ten.
    """
    sd = float(y.std()) + 1e-12 * (1.0 + float(np.abs(y).max()))
    plain = ((y - y.mean()) / sd, -len(y) * float(np.log(sd)))
    warping = OutputWarping.fit(y, float(y.max()))
    gaps = warping.top - y
    stretch = -np.log(warping.sd) - np.log(gaps + warping.usual * TRAINING_SET.epsilon)
    return [plain, (warping.transform(y), float(stretch.sum()))]


def _fitted(
    x: Floats, y: Floats, scaled: tuple[Floats, float], learnt: Ints
) -> tuple[_Data, float]:
    z, stretch = scaled
    hyper, likely = fit_hyperparameters(x[learnt], z[learnt])
    return _Data(x, z, hyper), likely + stretch * len(learnt) / len(y)
