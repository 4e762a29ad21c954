"""MAP fit: the model of curves with its most probable hyperparameters, from the last fit on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpo.search.base.curves import Curves, Floats
from hpo.search.base.decisions import Note
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.curve_gp import Posterior, fit_hyperparameters
from hpo.search.model.kernel import Hyperprior
from hpo.search.model.model_settings import FIT, TRAINING_SET
from hpo.search.model.training_set import Features, TrainingSet, gather


@dataclass(frozen=True)
class FittedModel:
    """A model of a study's curves.

    Attributes:
        inputs: The features of the trials.
        training_set: What the model was fitted to.
        posterior: The model; pending trials are not in it yet.
        incumbent: Posterior mean of the best trial, whose noise may have been lucky.
        memory: Starting point of the next fit; plain JSON.
    """

    inputs: Features
    training_set: TrainingSet
    posterior: Posterior
    incumbent: float
    memory: Note


def fit(
    curves: Curves, features: Floats, hyperprior: Hyperprior, memory: Note
) -> FittedModel | None:
    """Fits the model.

    The hyperparameters are fitted again when an eighth more epochs are known than the last time,
    beginning with those found then.

    Args:
        curves: The trials.
        features: [N, D] Features of their params.
        hyperprior: Prior of the hyperparameters.
        memory: ``FittedModel.memory`` of the last time, or nothing.

    Returns:
        The model; None when no trial has a finite value yet.
    """
    inputs = Features(curves, features)
    training_set = gather(inputs, TRAINING_SET.n_max)
    if training_set is None:
        return None
    log_hyper, learned_at = _from_memory(memory, hyperprior)
    n_epochs = curves.n_epochs
    least_new = max(curves.horizon // FIT.min_new_horizons, learned_at // FIT.min_new_share)
    if log_hyper is None or n_epochs >= learned_at + least_new:
        start, n_steps = (
            (hyperprior.mean, FIT.n_first_steps)
            if log_hyper is None
            else (log_hyper, FIT.n_more_steps)
        )
        log_hyper = _fit_hyperparameters(training_set, hyperprior, start, n_steps)
        learned_at = n_epochs
    posterior = Posterior(training_set.points, training_set.z, log_hyper, hyperprior)
    incumbent = min(training_set.top, float(posterior.fitted.max()) + posterior.noise)
    found = {"log_hyper": log_hyper.tolist(), "learned_at": learned_at}
    return FittedModel(inputs, training_set, posterior, incumbent, found)


def hyperprior_of(encoder: Encoder) -> Hyperprior:
    """Returns the hyperprior for a study's parameters.

    In a linear range of several powers of ten most happens at the lower end.
    """
    wide = np.array([column.is_wide for column in encoder.columns], dtype=bool)
    exponents = np.where(wide[encoder.owners], FIT.wide_exponent, 1.0)
    return Hyperprior.default(encoder.is_ordered.tolist(), exponents.tolist())


def _from_memory(memory: Note, hyperprior: Hyperprior) -> tuple[torch.Tensor | None, int]:
    values = memory.get("log_hyper")
    if values is None or len(values) != len(hyperprior.mean):
        return None, 0
    return torch.tensor(values, dtype=torch.float64), int(memory["learned_at"])


def _fit_hyperparameters(
    training_set: TrainingSet, hyperprior: Hyperprior, start: torch.Tensor, n_steps: int
) -> torch.Tensor:
    n = len(training_set.z)
    chosen = torch.linspace(0, n - 1, min(n, TRAINING_SET.n_fit)).round().long()
    found = fit_hyperparameters(
        training_set.points[chosen], training_set.z[chosen], hyperprior, start, n_steps
    )
    # What is written down must be what was used.
    return torch.round(found, decimals=FIT.n_digits)
