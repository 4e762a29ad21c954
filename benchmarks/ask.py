"""How long a worker waits for its next 64 trials, when thousands have finished.

The study has seven parameters, as tabular ones have, and trials that paused at rungs, were pruned
or are complete. Timed is all that stands between two epochs but for the database: the history as
arrays, the plan with 64 new points or advances, and its record; for Optuna's samplers drawing 64
points by them. A first ask fits the model from nothing; those after it go on from there, each with
64 more trials known. Methods take turns, and medians count. Seconds are the processor's, on one
thread: what else the machine does hardly changes them.

Run it from the checkout: ``python benchmarks/ask.py [--trials 10000] [--rounds 5] [--ours]``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpo.search.base.curves import State
from hpo.search.base.decision_replay import Record
from hpo.search.base.decisions import Ask, Note
from hpo.search.base.distributions import distribution
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder, Point
from hpo.search.optuna.study_search import Search
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.study_spec import StudySpec

SPACE = {
    "batch_size": {"low": 16, "high": 512, "log": True},
    "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    "momentum": {"low": 0.1, "high": 0.99},
    "weight_decay": {"low": 1e-5, "high": 0.1},
    "layers": {"low": 1, "high": 5},
    "width": {"low": 64, "high": 1024, "log": True},
    "dropout": {"low": 0.0, "high": 1.0},
}
EPOCHS = 27
RUNGS = (3, 6, 13, EPOCHS)
BATCH = 64
METHODS = (("auto", "freeze-thaw"), ("auto", "bohb"), ("tpe", "asha"), ("random", "asha"))
LIMITS_S = {"freeze-thaw": 2.0, "bohb": 0.3}


def study(sampler: str, pruner: str) -> StudySpec:
    """Returns the study that is searched."""
    return StudySpec(
        name="ask",
        task="digits-mlp",
        metric="val_accuracy",
        space=SPACE,
        budget={"trials": 10**6, "epochs": EPOCHS},
        sampler=sampler,
        pruner=pruner,
    )


def trial(number: int, point: Point, rng: np.random.Generator) -> ObservedTrial:
    """Returns a trial that has paused at a rung, or has its last epoch."""
    off = abs(math.log10(float(point["learning_rate"]) / 0.01)) + float(point["dropout"])
    height = 0.95 - 0.1 * off + 0.005 * rng.standard_normal()
    stop = int(rng.choice(RUNGS, p=(0.5, 0.25, 0.15, 0.1)))
    values = {e: height * (1.0 - 0.5 * math.exp(-e / 5.0)) for e in range(1, stop + 1)}
    if stop == EPOCHS:
        return ObservedTrial(number, State.COMPLETE, point, values, 0, values[stop])
    state = State.PAUSED if rng.random() < 0.5 else State.PRUNED
    return ObservedTrial(number, state, point, values, stop)


class Ours:
    """A worker that asks a scheduler."""

    def __init__(self, spec: StudySpec, rows: list[ObservedTrial]) -> None:
        encoder = Encoder.of_space(spec.space)
        self._scheduler = make_scheduler(spec)
        self._history = History(encoder, EPOCHS, maximize=True)
        self._memory: Note = {}
        self._before = None
        for row in rows:
            self._history.put(row)

    def ask(self) -> None:
        """Plans for 64 places, and writes the record of it."""
        curves = self._history.curves()
        ask = Ask(BATCH, memory=self._memory)
        plan = self._scheduler.plan(curves, ask)
        record = Record.of(curves, self._before, ask, plan)
        record.to_json()
        self._memory, self._before = plan.memory, curves
        assert len(plan.assignments) == BATCH

    def learn(self, rows: list[ObservedTrial]) -> None:
        """Takes note of new trials."""
        for row in rows:
            self._history.put(row)


class SamplerProposer:
    """A worker whose points one of Optuna's samplers draws, as a study in memory has them."""

    def __init__(self, spec: StudySpec, rows: list[ObservedTrial]) -> None:
        self._spec = spec
        self._storage = optuna.storages.InMemoryStorage()
        self._study_id = self._storage.create_new_study([StudyDirection.MAXIMIZE], spec.name)
        self._search = Search(spec, self._storage)
        self._paused: list[int] = []
        self.learn(rows)

    def ask(self) -> None:
        """Draws 64 points."""
        new = [self._storage.create_new_trial(self._study_id) for _ in range(BATCH)]
        points = self._search.ask(new, paused=self._paused)
        assert len(points) == BATCH
        for trial_id in new:
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def learn(self, rows: list[ObservedTrial]) -> None:
        """Writes new trials."""
        kinds = {name: distribution(self._spec.space[name]) for name in SPACE}
        for row in rows:
            paused = row.state == State.PAUSED
            values = None if row.final is None else [row.final]
            state = TrialState.COMPLETE if row.final is not None else TrialState.PRUNED
            template = FrozenTrial(
                number=row.number,
                trial_id=-1,
                state=TrialState.RUNNING if paused else state,
                value=None,
                values=values,
                datetime_start=None,
                datetime_complete=None,
                params=dict(row.params),
                distributions=kinds,
                user_attrs={},
                system_attrs={},
                intermediate_values=dict(row.values),
            )
            trial_id = self._storage.create_new_trial(self._study_id, template)
            self._paused += [trial_id] * paused


def timed(call: Callable[[], None]) -> float:
    """Returns the processor's seconds that a call takes, on its one thread."""
    began_at = time.process_time()
    call()
    return time.process_time() - began_at


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help="without Optuna's samplers")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    encoder = Encoder.of_space(study("auto", "auto").space)
    n_all = given.trials + BATCH * given.rounds
    points = encoder.decode(encoder.snap(encoder.stretched(rng.random((n_all, len(SPACE))))))
    rows = [trial(number, point, rng) for number, point in enumerate(points)]
    askers = {}
    for method in METHODS:
        if given.ours and method[0] != "auto":
            continue
        asker = Ours if method[0] == "auto" else SamplerProposer
        askers[method] = asker(study(*method), [replace(row) for row in rows[: given.trials]])
    first = {method: timed(asker.ask) for method, asker in askers.items()}
    later: dict[tuple[str, str], list[float]] = {method: [] for method in askers}
    for i in range(given.rounds):
        begin = given.trials + BATCH * i
        for method, asker in askers.items():
            asker.learn(rows[begin : begin + BATCH])
            later[method].append(timed(asker.ask))
    table = Table("sampler", "pruner", "first ask, s", "later asks, s", "should be under, s")
    for method, seconds in later.items():
        limit = LIMITS_S.get(method[1], LIMITS_S.get(method[0]))
        shown = "" if limit is None else f"{limit:g}"
        table.add_row(*method, f"{first[method]:.2f}", f"{statistics.median(seconds):.2f}", shown)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
