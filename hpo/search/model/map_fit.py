"""Fitting the model of the curves to a study, from where the last fit ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpo.search.base.curves import Curves, Floats
from hpo.search.base.decisions import Note
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.curve_gp import Posterior, learn
from hpo.search.model.kernel import Hyperprior
from hpo.search.model.model_settings import FIT, TRAINING_SET
from hpo.search.model.training_set import Features, TrainingSet, gather


@dataclass(frozen=True)
class FittedModel:
    """A model of a study's curves.

    Attributes:
        terrain: The features of the trials.
        evidence: What the model was fitted to.
        posterior: The model; pending trials are not in it yet.
        incumbent: What it believes of the best trial, whose noise may have been lucky.
        memory: From where the next fit goes on; plain JSON.
    """

    terrain: Features
    evidence: TrainingSet
    posterior: Posterior
    incumbent: float
    memory: Note


def fit(curves: Curves, features: Floats, belief: Hyperprior, memory: Note) -> FittedModel | None:
    """Fits the model.

    The hyperparameters are learnt anew when an eighth more epochs are known than the last time,
    beginning with those found then.

    Args:
        curves: The trials.
        features: [N, D] Features of their params.
        belief: What is thought of the hyperparameters beforehand.
        memory: ``FittedModel.memory`` of the last time, or nothing.

    Returns:
        The model; None when no trial has a finite value yet.
    """
    terrain = Features(curves, features)
    evidence = gather(terrain, TRAINING_SET.n_max)
    if evidence is None:
        return None
    log_hyper, learned_at = _recalled(memory, belief)
    n_epochs = curves.n_epochs
    least_new = max(curves.horizon // FIT.min_new_horizons, learned_at // FIT.min_new_share)
    if log_hyper is None or n_epochs >= learned_at + least_new:
        start, n_steps = (
            (belief.mean, FIT.n_first_steps) if log_hyper is None else (log_hyper, FIT.n_more_steps)
        )
        log_hyper = _learnt(evidence, belief, start, n_steps)
        learned_at = n_epochs
    posterior = Posterior(evidence.points, evidence.z, log_hyper, belief)
    incumbent = min(evidence.top, float(posterior.fitted.max()) + posterior.noise)
    found = {"log_hyper": log_hyper.tolist(), "learned_at": learned_at}
    return FittedModel(terrain, evidence, posterior, incumbent, found)


def belief_about(encoder: Encoder) -> Hyperprior:
    """Returns what is thought of a study's hyperparameters beforehand.

    In a linear range of several powers of ten most happens at the lower end.
    """
    wide = np.array([column.is_wide for column in encoder.columns], dtype=bool)
    exponents = np.where(wide[encoder.owners], FIT.wide_exponent, 1.0)
    return Hyperprior.about(encoder.is_ordered.tolist(), exponents.tolist())


def _recalled(memory: Note, belief: Hyperprior) -> tuple[torch.Tensor | None, int]:
    values = memory.get("log_hyper")
    if values is None or len(values) != len(belief.mean):
        return None, 0
    return torch.tensor(values, dtype=torch.float64), int(memory["learned_at"])


def _learnt(
    evidence: TrainingSet, belief: Hyperprior, start: torch.Tensor, n_steps: int
) -> torch.Tensor:
    n = len(evidence.z)
    chosen = torch.linspace(0, n - 1, min(n, TRAINING_SET.n_fit)).round().long()
    found = learn(evidence.points[chosen], evidence.z[chosen], belief, start, n_steps)
    # What is written down must be what was used.
    return torch.round(found, decimals=FIT.n_digits)
