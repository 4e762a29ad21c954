"""The methods that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler

from benchmarks.lcbench_data import EPOCHS, SPACE
from benchmarks.lcbench_own import Own
from benchmarks.lcbench_peers import OfOptuna, syne_tune
from benchmarks.lcbench_simulator import Method
from hpo.search.model.freeze_thaw import settings_of
from hpo.search.model.portfolio import Portfolio
from hpo.search.optuna.model_pruner import ModelPruner
from hpo.search.optuna.model_sampler import ModelSampler
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.study_spec import StudySpec

NO_PORTFOLIO: Final = Portfolio("none", {}, ())


@dataclass(frozen=True)
class Setting:
    """What a method is built for.

    Attributes:
        seed: Of its random numbers.
        portfolio: First points learnt without the task at hand.
        budget: Epochs of all trials together.
        n_workers: Trials in flight.
    """

    seed: int
    portfolio: Portfolio
    budget: float
    n_workers: int


Build: TypeAlias = Callable[[Setting], Method]


def own(pruner: str, *, has_prior: bool = False) -> Build:
    """Returns what builds one of our schedulers, with first points or without."""

    def build(setting: Setting) -> Method:
        portfolio = setting.portfolio if has_prior else NO_PORTFOLIO
        scheduler = make_scheduler(_spec(setting, pruner), portfolio=portfolio)
        return Own(scheduler, SPACE, EPOCHS, setting.budget, setting.n_workers)

    return build


def as_objective(setting: Setting) -> Method:
    """Builds our sampler and pruner as an Optuna objective gets them: trials cannot pause."""
    settings = settings_of(_spec(setting, "auto"), portfolio=setting.portfolio)
    sampler = ModelSampler(seed=setting.seed, space=SPACE, settings=settings)
    return OfOptuna(sampler, ModelPruner(SPACE, settings), SPACE, EPOCHS)


def _spec(setting: Setting, pruner: str) -> StudySpec:
    return StudySpec(
        name="lcbench",
        task="lcbench",
        metric="val_accuracy",
        direction="maximize",
        space=SPACE,
        budget={"epochs": EPOCHS, "total_epochs": int(setting.budget)},
        sampler="auto",
        pruner=pruner,
        seed=setting.seed,
    )


def of_optuna(sampler: type[BaseSampler], pruner: Callable[[], BasePruner] = NopPruner) -> Build:
    """Returns what builds a sampler and a pruner of Optuna's."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return lambda setting: OfOptuna(
        sampler(seed=setting.seed),  # type: ignore[call-arg]
        pruner(),
        SPACE,
        EPOCHS,
    )


def of_syne_tune(name: str, **options: Any) -> Build:
    """Returns what builds a scheduler of Syne Tune's."""
    return lambda setting: syne_tune(name, setting.seed, SPACE, EPOCHS, **dict(options))


def _hyperband() -> BasePruner:
    return HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)


def _halving() -> BasePruner:
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


_MOBSTER: Final = {
    "type": "promotion",
    "search_options": {"opt_skip_period": 5, "opt_skip_init_length": 100},
}

METHODS: Final[Mapping[str, Build]] = {
    "auto": own("auto", has_prior=True),
    "auto, no prior": own("auto"),
    "auto that cannot pause": as_objective,
    "its model without stopping": own("none"),
    "asha": own("asha"),
    "hyperband": own("hyperband"),
    "bohb": own("bohb"),
    "optuna: random": of_optuna(RandomSampler),
    "optuna: tpe": of_optuna(TPESampler),
    "optuna: tpe + median": of_optuna(TPESampler, MedianPruner),
    "optuna: tpe + hyperband": of_optuna(TPESampler, _hyperband),
    "optuna: tpe + halving": of_optuna(TPESampler, _halving),
    "optuna: gp": of_optuna(GPSampler),
    "optuna: cmaes": of_optuna(CmaEsSampler),
    "syne tune: asha": of_syne_tune("ASHA"),
    "syne tune: bohb": of_syne_tune("BOHB"),
    "syne tune 0.13: mobster": of_syne_tune("MOBSTER", **_MOBSTER),
    "syne tune 0.13: mobster from 5": of_syne_tune("MOBSTER", grace_period=5, **_MOBSTER),
    "syne tune 0.13: dehb": of_syne_tune("DEHB"),
}
