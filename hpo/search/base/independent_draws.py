"""Independent draws: random values for parameters that no model sees, each with its own stream."""

from __future__ import annotations

import zlib
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from hpo.search.base.derived_seeds import mix


class Independent:
    """Draws a value by the seed, the trial's number and the parameter's name.

    Optuna's random sampler continues one stream from trial to trial. Workers that begin with
    the same seed would then draw the same values.

    Args:
        seed: The study's.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def draw(self, study: Study, trial: FrozenTrial, name: str, kind: BaseDistribution) -> Any:
        """Returns a random value of a parameter."""
        seed = mix(self._seed, trial.number, zlib.crc32(name.encode()))
        return RandomSampler(seed=seed).sample_independent(study, trial, name, kind)
