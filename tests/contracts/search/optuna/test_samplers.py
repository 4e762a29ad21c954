"""Our own samplers pass the suite that Optuna has for its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from hpo.search.model.freeze_thaw import Settings
from hpo.search.optuna.cma_sampler import CmaSampler
from hpo.search.optuna.model_sampler import ModelSampler


class TestModelSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        # Few trials at random, so that most of the suite meets the model.
        return lambda: ModelSampler(seed=0, settings=Settings(n_initial=2))


class TestCmaSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CmaSampler(seed=0)
