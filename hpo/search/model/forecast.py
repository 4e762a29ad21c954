"""Forecast: what more trials would likely bring; patience: when a study has waited enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpo.search.base.curves import Curves
from hpo.search.base.decisions import Note
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.candidates import Candidates
from hpo.search.model.map_fit import FittedModel, fit, hyperprior_of
from hpo.search.model.model_settings import FORECAST
from hpo.search.model.training_set import usable
from hpo.spec.study_spec import StudySpec


@dataclass(frozen=True)
class Forecast:
    """The model's expectation of the next full trainings.

    Attributes:
        chance: How likely the best of them beats the best so far.
        gain: By how much on average, in the unit of the objective, 0 counting where it does not.
        best: The best value so far, in the study's own sign.
    """

    chance: float
    gain: float
    best: float

    def __str__(self) -> str:
        return (
            f"more trials would likely gain {self.gain:.2g} on {self.best:.6g}, "
            f"with a chance of {self.chance:.0%} to gain at all"
        )


def forecast(spec: StudySpec, curves: Curves, memory: Note | None = None) -> Forecast | None:
    """Asks a model of a study's curves what the best of many untried points would reach.

    Args:
        spec: The study.
        curves: Its trials.
        memory: The ``memory`` of a plan, which saves time; None to do without.

    Returns:
        The outlook; None as long as no trial has a value.
    """
    encoder = Encoder.of_space(spec.space)
    hyperprior = hyperprior_of(encoder)
    fitted = fit(curves, encoder.features(curves.points), hyperprior, memory or {})
    return None if fitted is None else _forecast(fitted, encoder, spec.seed)


def _forecast(fitted: FittedModel, encoder: Encoder, seed: int) -> Forecast:
    curves, rng = fitted.inputs.curves, np.random.default_rng(seed)
    rows = usable(curves)
    ranked = rows[np.argsort(-np.nan_to_num(curves.best[rows], nan=-np.inf), kind="stable")]
    candidates = Candidates(encoder, rng)
    tops = curves.points[ranked[: FORECAST.n_tops]]
    points = np.concatenate(
        [candidates.near(tops, FORECAST.n_near), candidates.anywhere(FORECAST.n_anywhere)]
    )
    ends = np.full(len(points), curves.horizon)
    places = fitted.inputs.new_points(encoder.features(points), ends)
    normal = torch.from_numpy(rng.standard_normal((len(points), FORECAST.n_draws)))
    reached = fitted.posterior.draws(places, normal).max(dim=0).values.numpy()
    warping = fitted.training_set.warping
    gains = np.maximum(
        warping.untransform(reached) - warping.untransform(np.array([fitted.incumbent])), 0.0
    )
    sign = 1.0 if curves.maximize else -1.0
    chance = float((reached > fitted.incumbent).mean())
    return Forecast(chance, float(gains.mean()), sign * warping.top)


def is_out_of_patience(curves: Curves, patience: int) -> bool:
    """Returns whether that many trials in a row, by their numbers, were no better than the best.

    Trials that have paused or run count as soon as they have reported.
    """
    rows = usable(curves)
    best = np.nan_to_num(curves.best[rows], nan=-np.inf)
    return bool(len(rows)) and len(rows) - 1 - int(best.argmax()) >= patience
