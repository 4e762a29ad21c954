"""Asynchronous parallel tuning in simulated time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

FULL_TRAININGS = 100
FRACTIONS = (0.10, 0.25, 0.50, 1.00)

Reply = Literal["continue", "pause", "stop"]


@dataclass(frozen=True)
class Job:
    """What a worker does next: a new trial, or a paused one to go on with.

    Attributes:
        trial: Its number.
        params: Of a new trial; None for a paused one.
    """

    trial: int
    params: Mapping[str, Any] | None


class Method(Protocol):
    """A tuner. Values are to be maximised."""

    def ask(self, n: int) -> Sequence[Job]:
        """Returns at most ``n`` jobs; fewer to let workers wait."""

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """Takes the value after an epoch; a trial that has had all its epochs is through."""


@dataclass
class Outcome:
    """What a method has reached.

    Attributes:
        trace: Share of the budget that was spent at each improvement, and the value.
        n_trials: Trials begun.
        n_full: Trials trained to the end.
        n_epochs: Epochs trained of all trials.
        ask_s: Seconds of each question for jobs.
    """

    trace: list[tuple[float, float]] = field(default_factory=list)
    n_trials: int = 0
    n_full: int = 0
    n_epochs: int = 0
    ask_s: list[float] = field(default_factory=list)

    def best(self, fraction: float) -> float:
        """Returns the best value after a share of the budget; NaN if there was none."""
        found = [value for at, value in self.trace if at <= fraction + 1e-9]
        return found[-1] if found else float("nan")


@dataclass
class _Trial:
    values: Sequence[float]
    costs: Sequence[float]
    n_epochs: int = 0


class Simulation:
    """Workers that train one epoch at a time and ask when they are free.

    The budget is time of all workers together, idle time included: 100 full trainings. Paused
    trials go on at no cost.

    Args:
        method: The tuner.
        curve: Returns a trial's values and the cost of each epoch, by its params.
        horizon: Epochs of a full training.
        n_workers: How many trials train at the same time.
        is_stack: Whether they are lanes of one worker, which asks once for all that are free at
            the same time, after all of them have reported; else each asks for itself.
    """

    def __init__(
        self,
        method: Method,
        curve: Callable[[Mapping[str, Any]], tuple[Sequence[float], Sequence[float]]],
        horizon: int,
        n_workers: int,
        is_stack: bool = False,
    ) -> None:
        self._method = method
        self._curve = curve
        self._horizon = horizon
        self._n_workers = n_workers
        self._is_stack = is_stack
        self._trials: dict[int, _Trial] = {}
        self._events: list[tuple[float, int, int]] = []
        self._n_events = 0
        self._clock = 0.0

    def run(self, budget: float) -> Outcome:
        """Spends a budget.

        Args:
            budget: Cost of all epochs, in the unit of ``curve``'s costs.
        """
        outcome, end = Outcome(), budget / self._n_workers
        n_idle = self._assign(self._n_workers, outcome)
        best = -np.inf
        while self._events and self._events[0][0] <= end + 1e-9:
            n_free = n_idle
            while True:
                self._clock, _, number = heapq.heappop(self._events)
                reply, value = self._train(number)
                if value > best:
                    best = value
                    outcome.trace.append((self._clock / end, best))
                if reply == "continue":
                    self._push(number)
                else:
                    n_free += 1
                is_last = not self._events or self._events[0][0] > self._clock + 1e-9
                if is_last or not self._is_stack:
                    break
            n_idle = self._assign(n_free, outcome) if n_free > n_idle else n_free
        outcome.n_trials = len(self._trials)
        outcome.n_epochs = sum(one.n_epochs for one in self._trials.values())
        outcome.n_full = sum(one.n_epochs == self._horizon for one in self._trials.values())
        return outcome

    def _train(self, number: int) -> tuple[Reply, float]:
        trial = self._trials[number]
        value = float(trial.values[trial.n_epochs])
        trial.n_epochs += 1
        reply = self._method.tell(number, trial.n_epochs, value)
        return ("stop" if trial.n_epochs == self._horizon else reply), value

    def _assign(self, n: int, outcome: Outcome) -> int:
        """Gives work to ``n`` free workers; returns how many of them got none."""
        size = n if self._is_stack else 1
        for n_left in range(n, 0, -size):
            began = time.perf_counter()
            jobs = self._method.ask(size)
            outcome.ask_s.append(time.perf_counter() - began)
            for job in jobs:
                if job.params is not None:
                    self._trials[job.trial] = _Trial(*self._curve(job.params))
                assert self._trials[job.trial].n_epochs < self._horizon, "it is through"
                self._push(job.trial)
            if len(jobs) < size:
                return n_left - len(jobs)
        return 0

    def _push(self, number: int) -> None:
        trial = self._trials[number]
        self._n_events += 1
        due = self._clock + float(trial.costs[trial.n_epochs])
        heapq.heappush(self._events, (due, self._n_events, number))
