"""Acquisition function: the probability to improve on the incumbent, maximised for a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hpo.search.base.curves import Floats, Ints
from hpo.search.base.param_encoding import Encoder
from hpo.search.base.rungs import next_rung
from hpo.search.model.candidates import Candidates, comparable, new_rows
from hpo.search.model.curve_gp import Prediction
from hpo.search.model.kernel import Points
from hpo.search.model.map_fit import FittedModel
from hpo.search.model.model_settings import ACQUISITION
from hpo.search.model.structures import Structures
from hpo.search.model.training_set import usable


@dataclass(frozen=True)
class Selection:
    """One choice.

    Attributes:
        row: The paused trial's row in the curves; None for a new point.
        point: [P] The new point, snapped; None for a trial.
        epoch_stop: How far to train it.
        note: What the model predicted.
    """

    row: int | None
    point: Floats | None
    epoch_stop: int
    note: Mapping[str, Any]


@dataclass(frozen=True)
class _Target:
    """The improvement whose probability is maximised: a gain on the incumbent, at a horizon.

    Attributes:
        horizon: Epochs from where a trial is now.
        gain: In standard deviations of the training set.
    """

    horizon: int
    gain: float


class Acquisition:
    """Probability of improvement, of paused trials and of new points.

    Source: ``freeze_thaw``, for the random horizon and the random gain.

    Args:
        encoder: The searched parameters.
        fitted: The model.
        pending: Where running trials will report next.
        paused: Rows of the trials that can be resumed.
        ladder: The epochs at which trials pause.
        structures: Which combinations of structural values new points may have.
        rng: All chance.
    """

    def __init__(
        self,
        encoder: Encoder,
        fitted: FittedModel,
        pending: Points,
        paused: Ints,
        ladder: tuple[int, ...],
        structures: Structures,
        rng: np.random.Generator,
    ) -> None:
        self._encoder = encoder
        self.fitted = fitted
        # What runs tells as much as it would have done by itself: it makes new points near it
        # less telling, but is no reason to give up a trial that has begun.
        self._posterior = copy.copy(fitted.posterior)
        self._posterior.condition_on_pending(pending)
        self._curves = fitted.inputs.curves
        self._ladder = ladder
        self._structures = structures
        self._rng = rng
        self._candidates = Candidates(encoder, rng)
        ranked = self._ranked()
        self._tops = self._curves.points[ranked[: ACQUISITION.n_tops]]
        self._paused = self._considered(ranked, paused)
        self._seen = set(encoder.keys(self._curves.points))
        self._is_open = np.ones(len(self._paused), dtype=bool)
        self._redraw()

    def choose(self, n: int, n_new: int, epochs_left: float | None = None) -> list[Selection]:
        """Returns trials to resume and new points, in the order of their choice.

        Each choice counts what was chosen before it as pending.

        Args:
            n: Most choices.
            n_new: Most new points among them.
            epochs_left: How far the budget lets a trial go; None for any number of epochs.
        """
        horizon = self._curves.horizon
        farthest = horizon if epochs_left is None else min(horizon, max(1, int(epochs_left)))
        targets = self._draw_targets(n, farthest)
        old = {
            horizon: self._predict_paused(horizon)
            for horizon in {target.horizon for target in targets}
        }
        selected: list[Selection] = []
        for i, target in enumerate(targets):
            if i % ACQUISITION.redraw_every == 0:
                # Many choices from the same few candidates would all be neighbours.
                if i:
                    self._redraw()
                horizons = {one.horizon for one in targets[i : i + ACQUISITION.redraw_every]}
                new = {h: self._predict_new(self._pool, h) for h in horizons | {farthest}}
            may_start = (
                self.has_new and sum(selection.row is None for selection in selected) < n_new
            )
            index = self._resumed(target, old[target.horizon], new[target.horizon], may_start)
            if index is not None:
                note = {**self._note(target), **_expected(old[target.horizon], index)}
                selection = self.advance(int(self._paused[index]), note)
            elif may_start:
                # Which new point it is depends on where it will be in the end.
                selection = self._new_point(_Target(farthest, target.gain), new[farthest])
            else:
                break
            selected.append(selection)
            self._add_pending(selection, list(new.values()))
        return selected

    @property
    def has_new(self) -> bool:
        """Whether there are untried points."""
        return bool(self._is_open[len(self._paused) :].any())

    @property
    def paused(self) -> Ints:
        """Rows of the paused trials that are considered, the best first."""
        return self._paused

    def advance(self, row: int, note: Mapping[str, Any]) -> Selection:
        """Returns the choice of a paused trial, up to its next rung."""
        epoch_stop = next_rung(self._ladder, int(self._curves.epochs[row]))
        return Selection(row, None, epoch_stop, note)

    def _ranked(self) -> Ints:
        rows = usable(self._curves)
        values = np.nan_to_num(self._curves.best[rows], nan=-np.inf)
        return rows[np.argsort(-values, kind="stable")]

    def _considered(self, ranked: Ints, paused: Ints) -> Ints:
        order = ranked[np.isin(ranked, paused)]
        best, others = order[: ACQUISITION.n_best_paused], order[ACQUISITION.n_best_paused :]
        return np.concatenate([best, self._rng.permutation(others)[: ACQUISITION.n_other_paused]])

    def _drawn(self) -> Floats:
        candidates = self._candidates
        return np.concatenate(
            [
                candidates.anywhere(ACQUISITION.n_anywhere),
                candidates.near(self._tops, ACQUISITION.n_near),
                candidates.jumps(self._tops, ACQUISITION.n_jumps),
            ]
        )

    def _redraw(self) -> None:
        """Draws other new points to choose among."""
        self._pool = self._fresh(self._drawn())
        fits = self._structures.allow(self._pool)
        self._is_open = np.append(self._is_open[: len(self._paused)], fits)

    def _fresh(self, rows: Floats) -> Floats:
        """Returns rows that fit the structures, without points that were tried or stand twice."""
        rows = self._structures.fitted(rows, self._rng)
        return rows[new_rows(self._encoder, rows, self._seen)]

    def _draw_targets(self, n: int, farthest: int) -> list[_Target]:
        """Draws a horizon and a gain for each choice; a batch shares a few horizons."""
        gains = 10.0 ** self._rng.uniform(ACQUISITION.min_log10_gain, ACQUISITION.max_log10_gain, n)
        if n <= ACQUISITION.n_horizons:
            horizons = self._rng.integers(1, farthest + 1, n)
        else:
            strata = (
                np.arange(ACQUISITION.n_horizons) + self._rng.random(ACQUISITION.n_horizons)
            ) / ACQUISITION.n_horizons
            few = np.maximum(1, np.ceil(strata * farthest)).astype(int)
            horizons = self._rng.permutation(np.resize(few, n))
        return [_Target(int(h), float(g)) for h, g in zip(horizons, gains, strict=True)]

    def _predict_paused(self, horizon: int) -> Prediction:
        """Returns the prediction of all paused trials some epochs later."""
        epochs = np.minimum(self._curves.epochs[self._paused] + horizon, self._curves.horizon)
        return self.fitted.posterior.predict(self.fitted.inputs.points(self._paused, epochs))

    def _predict_new(self, rows: Floats, horizon: int) -> Prediction:
        """Returns the prediction of new points after some epochs."""
        epochs = np.full(len(rows), min(horizon, self._curves.horizon))
        points = self.fitted.inputs.new_points(self._encoder.features(rows), epochs)
        return self._posterior.predict(points)

    def _resumed(
        self, target: _Target, old: Prediction, new: Prediction, may_start: bool
    ) -> int | None:
        """Returns the index of the paused trial to resume; None to begin a new one."""
        is_open = self._is_open[: len(self._paused)]
        if not is_open.any():
            return None
        scores = np.where(is_open, self._scores(old, target), -np.inf)
        best = int(scores.argmax())
        # With many places the best paused trials run already, and new points would take them all.
        if not may_start or self._rng.random() >= ACQUISITION.new_share:
            return best
        new_scores = self._scores(new, target)[self._is_open[len(self._paused) :]]
        return best if scores[best] >= new_scores.max() else None

    def _new_point(self, target: _Target, prediction: Prediction) -> Selection:
        """Returns the best of the pool, improved by looking around the best few again."""
        is_open = self._is_open[len(self._paused) :]
        if self._rng.random() < ACQUISITION.random_share:
            row = self._pool[int(self._rng.choice(np.flatnonzero(is_open)))]
            return Selection(None, row, self._ladder[0], {"by": "chance"})
        rows, scores = self._pool[is_open], self._scores(prediction, target)[is_open]
        expected: dict[str, float] = {}
        for _ in range(ACQUISITION.n_local_rounds):
            tops = rows[np.argsort(-scores, kind="stable")[: ACQUISITION.n_local_starts]]
            around = self._fresh(
                np.concatenate([tops, self._candidates.near(tops, ACQUISITION.n_local)])
            )
            rows = around if len(around) else tops
            prediction = self._predict_new(rows, target.horizon)
            scores = self._scores(prediction, target)
            expected = _expected(prediction, int(scores.argmax()))
        note = {**self._note(target), **expected}
        return Selection(None, rows[int(scores.argmax())], self._ladder[0], note)

    def _note(self, target: _Target) -> dict[str, Any]:
        return {
            "by": "model",
            "horizon": target.horizon,
            "gain": round(target.gain, 4),
            "incumbent": round(self.fitted.incumbent, 4),
        }

    def _scores(self, prediction: Prediction, target: _Target) -> Floats:
        wanted = self.fitted.incumbent + target.gain
        return comparable(((prediction.mean - wanted) / prediction.sd).numpy())

    def _add_pending(self, selection: Selection, predictions: list[Prediction]) -> None:
        if selection.point is not None:
            self.add_pending(selection.point[None], selection.epoch_stop, predictions)
        else:
            self._is_open[: len(self._paused)] &= self._paused != selection.row
            rows, stops = np.array([selection.row]), np.array([selection.epoch_stop])
            self._posterior.condition_on_pending(
                self.fitted.inputs.points(rows, stops), *predictions
            )

    def add_pending(
        self, rows: Floats, epoch_stop: int, predictions: Sequence[Prediction] = ()
    ) -> None:
        """Counts new points as chosen, [K, P]: they are pending, and not to be chosen again."""
        for row in rows:
            self._structures.count(row[None])
        self._seen.update(self._encoder.keys(rows))
        is_new = np.zeros(len(self._pool), dtype=bool)
        is_new[new_rows(self._encoder, self._pool, self._seen)] = True
        fits = self._structures.allow(self._pool)
        self._is_open[len(self._paused) :] &= is_new & fits
        stops = np.full(len(rows), epoch_stop)
        points = self.fitted.inputs.new_points(self._encoder.features(rows), stops)
        self._posterior.condition_on_pending(points, *predictions)


def chances_to_win(fitted: FittedModel, rows: Ints) -> Floats:
    """Returns how likely trials, by their rows, are to beat the best one at the end, [K]."""
    last = np.full(len(rows), fitted.inputs.curves.horizon)
    prediction = fitted.posterior.predict(fitted.inputs.points(rows, last))
    chances = torch.special.ndtr((prediction.mean - fitted.incumbent) / prediction.sd)
    return comparable(chances.numpy())


def _expected(prediction: Prediction, index: int) -> dict[str, float]:
    return {
        "mean": round(float(prediction.mean[index]), 4),
        "sd": round(float(prediction.sd[index]), 4),
    }
