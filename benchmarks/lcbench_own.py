"""Our own schedulers in the simulation, asked and told as a worker does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.lcbench_simulator import Job, Reply
from hpo.search.base.curves import State
from hpo.search.base.decisions import Ask, Decision, Note, Start
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.schedulers.registry import Scheduler
from hpo.spec.space.search_space import SearchSpace

_REPLIES: Final[Mapping[Decision, Reply]] = {
    Decision.GO_ON: "continue",
    Decision.PAUSE: "pause",
    Decision.STOP: "stop",
    Decision.COMPLETE: "stop",
}
_STATES: Final = {
    Decision.PAUSE: State.PAUSED,
    Decision.STOP: State.PRUNED,
    Decision.COMPLETE: State.COMPLETE,
}


class Own:
    """A scheduler as a method of the simulation.

    Args:
        scheduler: The one that workers use.
        space: What is searched.
        horizon: Epochs of a full training.
        budget: Epochs of all trials; None not to tell the scheduler.
        n_workers: How many trials train at the same time.
        maximize: Whether larger values are better.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        space: SearchSpace,
        horizon: int,
        budget: float | None,
        n_workers: int,
        maximize: bool = True,
    ) -> None:
        self._scheduler = scheduler
        self._history = History(Encoder.of_space(space), horizon, maximize)
        self._params: dict[int, Mapping[str, Any]] = {}
        self._memory: Note = {}
        self._epochs_left, self._n_workers = budget, n_workers

    def ask(self, n: int) -> list[Job]:
        """See ``Method``."""
        left = None if self._epochs_left is None else self._epochs_left / self._n_workers
        ask = Ask(n, epochs_left=left, memory=self._memory)
        plan = self._scheduler.plan(self._history.curves(), ask)
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
        if self._epochs_left is not None:
            self._epochs_left -= 1.0
        self._history.report(trial, epoch, value)
        verdict = self._scheduler.judge(self._history.curves(), [trial])[0]
        if verdict != Decision.GO_ON:
            final = value if verdict == Decision.COMPLETE else None
            self._put(trial, _STATES[verdict], epoch, final)
        return _REPLIES[verdict]

    def _put(self, trial: int, state: State, epoch_stop: int, final: float | None = None) -> None:
        row = ObservedTrial(trial, state, self._params[trial], {}, epoch_stop, final)
        self._history.put(row)
