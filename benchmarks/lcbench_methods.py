"""The methods that are compared, by name: our own schedulers, Optuna's and Syne Tune's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
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
from benchmarks.lcbench_simulator import Job, Method, Reply
from hpo.search.curves import State
from hpo.search.decisions import Ask, Note, Start, Verdict
from hpo.search.distributions import distribution
from hpo.search.encoding import Encoder
from hpo.search.history import History, TrialRow
from hpo.search.portfolio import Portfolio
from hpo.search.schedulers import Scheduler, make_scheduler
from hpo.spec.study import StudySpec

_REPLIES: Final[Mapping[Verdict, Reply]] = {
    Verdict.GO_ON: "continue",
    Verdict.PAUSE: "pause",
    Verdict.STOP: "stop",
    Verdict.COMPLETE: "stop",
}
_STATES: Final = {
    Verdict.GO_ON: State.RUNNING,
    Verdict.PAUSE: State.PAUSED,
    Verdict.STOP: State.PRUNED,
    Verdict.COMPLETE: State.COMPLETE,
}


EMPTY: Final = Portfolio("none", {}, ())


class Own:
    """One of our schedulers, asked and told as a worker does it.

    Args:
        scheduler: The one that workers use.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._history = History(Encoder.of_space(SPACE), EPOCHS, maximize=True)
        self._params: dict[int, Mapping[str, Any]] = {}
        self._memory: Note = {}

    def ask(self, n: int) -> list[Job]:
        """See ``Method``."""
        plan = self._scheduler.plan(self._history.curves(), Ask(n, memory=self._memory))
        self._memory = plan.memory
        jobs = []
        for one in plan.assignments:
            params = one.params if isinstance(one, Start) else None
            if params is not None:
                self._params[one.number] = params
            self._put(one.number, State.RUNNING, one.epoch_stop)
            jobs.append(Job(one.number, params))
        return jobs

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """See ``Method``."""
        self._history.report(trial, epoch, value)
        verdict = self._scheduler.judge(self._history.curves(), [trial])[0]
        if verdict != Verdict.GO_ON:
            final = value if verdict == Verdict.COMPLETE else None
            self._put(trial, _STATES[verdict], epoch, final)
        return _REPLIES[verdict]

    def _put(self, trial: int, state: State, epoch_stop: int, final: float | None = None) -> None:
        row = TrialRow(trial, state, self._params[trial], {}, epoch_stop, final)
        self._history.put(row)


class OfOptuna:
    """A sampler and a pruner of Optuna's."""

    def __init__(self, sampler: BaseSampler, pruner: BasePruner) -> None:
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}
        self._can_prune = not isinstance(pruner, NopPruner)
        kinds = {name: distribution(SPACE[name]) for name in SPACE}
        self._kinds = {name: kind for name, kind in kinds.items() if kind is not None}

    def ask(self, n: int) -> list[Job]:
        """See ``Method``."""
        trials = [self._study.ask(self._kinds) for _ in range(n)]
        self._trials.update({trial.number: trial for trial in trials})
        return [Job(trial.number, trial.params) for trial in trials]

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """See ``Method``."""
        asked = self._trials[trial]
        asked.report(value, epoch)
        if epoch == EPOCHS:
            self._study.tell(asked, value)
        elif self._can_prune and asked.should_prune():
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            return "continue"
        return "stop"


@dataclass(frozen=True)
class Setting:
    """What a method is built for.

    Attributes:
        seed: Of its random numbers.
        portfolio: First points learnt without the task at hand.
    """

    seed: int
    portfolio: Portfolio


Build: TypeAlias = Callable[[Setting], Method]


def own(
    pruner: str, *, sampler: str = "auto", can_pause: bool = True, informed: bool = False
) -> Build:
    """Returns what builds one of our schedulers, with or without first points."""

    def build(setting: Setting) -> Method:
        spec = StudySpec(
            name="lcbench",
            task="lcbench",
            metric="val_accuracy",
            direction="maximize",
            space=SPACE,
            budget={"epochs": EPOCHS},
            sampler=sampler,
            pruner=pruner,
            seed=setting.seed,
        )
        portfolio = setting.portfolio if informed else EMPTY
        return Own(make_scheduler(spec, can_pause=can_pause, portfolio=portfolio))

    return build


def of_optuna(sampler: type[BaseSampler], pruner: Callable[[], BasePruner] = NopPruner) -> Build:
    """Returns what builds a pair of Optuna's."""
    return lambda setting: OfOptuna(sampler(seed=setting.seed), pruner())  # type: ignore[call-arg]


def _hyperband() -> BasePruner:
    return HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)


def _halving() -> BasePruner:
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


METHODS: Final[Mapping[str, Build]] = {
    "auto": own("auto", informed=True),
    "auto, no prior": own("auto"),
    "auto, objectives": own("auto", can_pause=False, informed=True),
    "gp, no pruning": own("none"),
    "asha": own("asha"),
    "hyperband": own("hyperband"),
    "bohb": own("bohb"),
    "optuna random": of_optuna(RandomSampler),
    "optuna tpe": of_optuna(TPESampler),
    "optuna tpe + median": of_optuna(TPESampler, MedianPruner),
    "optuna tpe + hyperband": of_optuna(TPESampler, _hyperband),
    "optuna tpe + halving": of_optuna(TPESampler, _halving),
    "optuna gp": of_optuna(GPSampler),
    "optuna cmaes": of_optuna(CmaEsSampler),
}
