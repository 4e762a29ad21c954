"""Optuna's and Syne Tune's methods, asked and told by hand as their own loops do it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from benchmarks.lcbench_simulator import Job, Reply
from hpo.search.base.distributions import suggest
from hpo.spec.space.search_space import Float, Int, SearchSpace

_LONG_AGO = dt.datetime(2020, 1, 1)


class OfOptuna:
    """A sampler and a pruner of Optuna's.

    Args:
        sampler: Proposes params.
        pruner: Stops trials.
        space: What is searched.
        horizon: Epochs of a full training.
        direction: ``maximize`` or ``minimize``.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        pruner: BasePruner,
        space: SearchSpace,
        horizon: int,
        direction: str = "maximize",
    ) -> None:
        self._study = optuna.create_study(direction=direction, sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}
        self._can_prune = not isinstance(pruner, NopPruner)
        self._space = space
        self._horizon = horizon

    def ask(self, n: int) -> list[Job]:
        """See ``Method``."""
        trials = [self._study.ask() for _ in range(n)]
        self._trials.update({trial.number: trial for trial in trials})
        return [Job(trial.number, suggest(trial, self._space)) for trial in trials]

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """See ``Method``."""
        asked = self._trials[trial]
        asked.report(value, epoch)
        if epoch == self._horizon:
            self._study.tell(asked, value)
        elif self._can_prune and asked.should_prune():
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            return "continue"
        return "stop"


class OfSyneTune:
    """A scheduler of Syne Tune's: of 0.16, or of 0.13, the last with MOBSTER and its like.

    Args:
        scheduler: Made for the space of ``syne_space`` and the metric ``val``.
        package: ``syne_tune.backend.trial_status``.
        horizon: Epochs of a full training.
        is_new: Whether it is of 0.14 or later.
    """

    def __init__(self, scheduler: Any, package: ModuleType, horizon: int, is_new: bool) -> None:
        self._scheduler = scheduler
        self._package = package
        self._horizon = horizon
        self._is_new = is_new
        self._trials: dict[int, Any] = {}

    def ask(self, n: int) -> list[Job]:
        """See ``Method``."""
        jobs: list[Job] = []
        while len(jobs) < n:
            number = len(self._trials)
            suggest = self._scheduler.suggest
            found = suggest() if self._is_new else suggest(number)
            if found is None:
                break
            jobs.append(self._begun(found, number) if found.spawn_new_trial_id else self._on(found))
        return jobs

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """See ``Method``."""
        asked = self._trials[trial]
        result = {"val": value, "epoch": epoch, "elapsed_time": float(epoch)}
        decision = self._scheduler.on_trial_result(asked, result)
        if decision != "CONTINUE":
            self._scheduler.on_trial_remove(asked)
            return "pause" if decision == "PAUSE" else "stop"
        if epoch >= self._horizon:
            self._scheduler.on_trial_complete(asked, result)
            return "stop"
        return "continue"

    def _begun(self, found: Any, number: int) -> Job:
        config = dict(found.config)
        trial = self._package.Trial(trial_id=number, config=config, creation_time=_LONG_AGO)
        self._trials[number] = trial
        self._scheduler.on_trial_add(trial)
        return Job(number, config)

    def _on(self, found: Any) -> Job:
        number = found.checkpoint_trial_id
        if found.config is not None:
            self._trials[number].config = dict(found.config)
        return Job(number, None)


def syne_tune(name: str, seed: int, space: SearchSpace, horizon: int, **options: Any) -> OfSyneTune:
    """Builds a scheduler of Syne Tune's.

    Args:
        name: Its class in ``syne_tune.optimizer.baselines``.
        seed: Of its random numbers.
        space: What is searched.
        horizon: Epochs of a full training.
        **options: More arguments.

    Raises:
        ImportError: Syne Tune is not installed, or that version has no such scheduler.
    """
    from importlib.metadata import version

    import syne_tune.backend.trial_status as package
    import syne_tune.optimizer.baselines as baselines

    logging.disable(logging.WARNING)
    is_new = [int(part) for part in version("syne-tune").split(".")[:2]] >= [0, 14]
    if not hasattr(baselines, name):
        raise ImportError(f"this Syne Tune has no {name}")
    config = syne_space(space)
    if is_new:
        options |= {"time_attr": "epoch", "max_t": horizon, "do_minimize": False}
    else:
        config["epochs"] = horizon
        options |= {"mode": "max", "resource_attr": "epoch", "max_resource_attr": "epochs"}
        options["search_options"] = {"debug_log": False, **options.get("search_options", {})}
    made = getattr(baselines, name)(config, metric="val", random_seed=seed, **options)
    return OfSyneTune(made, package, horizon, is_new)


def syne_space(space: SearchSpace) -> dict[str, Any]:
    """Returns a space of numbers as Syne Tune has it."""
    from syne_tune import config_space as cs

    kinds: Mapping[tuple[bool, bool], Any] = {
        (True, True): cs.lograndint,
        (True, False): cs.loguniform,
        (False, True): cs.randint,
        (False, False): cs.uniform,
    }
    numbers: Sequence[tuple[str, Any]] = list(space.parameters.items())
    assert all(isinstance(one, Float | Int) for _, one in numbers)
    return {name: kinds[one.log, isinstance(one, Int)](one.low, one.high) for name, one in numbers}
