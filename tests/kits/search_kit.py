"""Studies in a few lines: a space, a made-up objective, and a loop as a worker's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hpo.search.base.curves import State
from hpo.search.base.decisions import Ask, Decision, Note, Plan, Start
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.schedulers.registry import Scheduler, make_scheduler
from hpo.spec.study_spec import StudySpec

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
    "width": {"choices": [16, 32, 64]},
    "optimizer": {"choices": ["sgd", "adam"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
}
STATES = {
    Decision.PAUSE: State.PAUSED,
    Decision.STOP: State.PRUNED,
    Decision.COMPLETE: State.COMPLETE,
}
Objective = Callable[[Mapping[str, Any], int], float]


def spec(**changes: Any) -> StudySpec:
    """Returns a study of SPACE, to be maximised."""
    base: dict[str, Any] = {
        "name": "s",
        "task": "digits-mlp",
        "metric": "val_accuracy",
        "space": SPACE,
        "budget": {"trials": 100, "epochs": 27},
        "sampler": "auto",
        "pruner": "auto",
    }
    return StudySpec(**{**base, **changes})


def accuracy(params: Mapping[str, Any], epoch: int) -> float:
    """A curve that rises to a height which the learning rate decides: best at 0.01."""
    off = abs(math.log10(params["learning_rate"] / 0.01))
    height = 1.0 - 0.2 * off - (0.1 if params.get("optimizer") == "adam" else 0.0)
    return height * (1.0 - math.exp(-epoch / 5.0))


class Run:
    """A worker with some places, one epoch at a time.

    Args:
        study: What to search.
        objective: Value by params and epoch.
        n_places: Trials at the same time.
    """

    def __init__(
        self,
        study: StudySpec,
        objective: Objective = accuracy,
        n_places: int = 1,
    ) -> None:
        self.study, self.objective, self.n_places = study, objective, n_places
        self.scheduler: Scheduler = make_scheduler(study)
        encoder = Encoder.of_space(study.space)
        self.history = History(
            encoder, study.budget.epochs, maximize=study.directions[0] == "maximize"
        )
        self.params: dict[int, dict[str, Any]] = {}
        self.epochs: dict[int, int] = {}
        self.states: dict[int, State] = {}
        self.plans: list[Plan] = []
        self.memory: Note = {}

    @property
    def running(self) -> list[int]:
        return [number for number, state in self.states.items() if state == State.RUNNING]

    @property
    def n_epochs(self) -> int:
        return sum(self.epochs.values())

    def best(self, state: State = State.COMPLETE) -> dict[str, Any]:
        """Returns the params of the trial with the best last value."""
        ended = [number for number, found in self.states.items() if found == state]
        return self.params[max(ended, key=lambda n: self.objective(self.params[n], self.epochs[n]))]

    def fill(self) -> Plan:
        """Asks for work for all free places."""
        trials = self.study.budget.trials
        n_new = None if trials is None else trials - len(self.states)
        ask = Ask(self.n_places - len(self.running), n_new, memory=self.memory)
        plan = self.scheduler.plan(self.history.curves(), ask)
        self.memory = plan.memory
        self.plans.append(plan)
        for one in plan.assignments:
            if isinstance(one, Start):
                assert one.params is not None
                self.params[one.number] = dict(one.params)
                self.epochs[one.number] = 0
            self._put(one.number, State.RUNNING, one.epoch_stop)
        return plan

    def train(self) -> None:
        """Trains everything that runs for one epoch and judges it."""
        running = self.running
        for number in running:
            self.epochs[number] += 1
            value = self.objective(self.params[number], self.epochs[number])
            self.history.report(number, self.epochs[number], value)
        verdicts = self.scheduler.judge(self.history.curves(), running)
        for number, verdict in zip(running, verdicts, strict=True):
            if verdict != Decision.GO_ON:
                self._put(number, STATES[verdict], self.epochs[number])

    def to_the_end(self, most_epochs: int = 10_000) -> Run:
        """Works until the scheduler has nothing left to do."""
        while self.n_epochs < most_epochs:
            if len(self.running) < self.n_places and self.fill().finished:
                break
            self.train()
        return self

    def _put(self, number: int, state: State, epoch_stop: int) -> None:
        self.states[number] = state
        final = None
        if state == State.COMPLETE:
            final = self.objective(self.params[number], self.epochs[number])
        row = ObservedTrial(number, state, self.params[number], {}, epoch_stop, final)
        self.history.put(row)
