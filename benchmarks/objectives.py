"""What a budget brings for Optuna objectives: hpo's default search beside Optuna's.

Objectives without reports: two workers draw their params at the same time, each without the
others'. Run it with ``python -m benchmarks.objectives --seeds 10 --trials 40``.

Training loops with ``hpo.Run`` (``benchmarks/objective_loops.py``): plain Optuna, TPE and median
pruning trains some trials in one process. Then one worker of hpo searches from nothing until a
report is as good as the best one of Optuna's, or until it has spent as many epochs. Run it with
``python -m benchmarks.objectives --loops --seeds 5 --trials 50``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

import hpo
from benchmarks import objective_loops
from hpo.cli.messages import say
from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import StudySpec

WORKERS = 2


def quadratic(trial: optuna.Trial) -> float:
    """A bowl; its minimum is 0."""
    x, y = trial.suggest_float("x", -10, 10), trial.suggest_float("y", -10, 10)
    return (x - 2) ** 2 + (y + 3) ** 2


def branin(trial: optuna.Trial) -> float:
    """Three valleys of equal depth, 0.397887 taken off."""
    x, y = trial.suggest_float("x", -5, 10), trial.suggest_float("y", 0, 15)
    valley = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return valley + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def conditional(trial: optuna.Trial) -> float:
    """One of three kinds, each with parameters of its own; the minimum is 0."""
    if trial.suggest_categorical("kind", ["line", "curve", "step"]) != "curve":
        return 1.0 + trial.suggest_float("slope", 0.0, 1.0)
    rate, n = trial.suggest_float("rate", 1e-4, 1.0, log=True), trial.suggest_int("n", 1, 30)
    return (math.log10(rate) + 2.0) ** 2 + (n - 11) ** 2 / 100


OBJECTIVES: dict[str, Callable[[optuna.Trial], float]] = {
    "quadratic": quadratic,
    "branin": branin,
    "conditional": conditional,
}


def best_of(
    objective: Callable[[optuna.Trial], float], sampler: str, seed: int, n_trials: int
) -> float:
    """Returns the smallest value that a study finds."""
    spec = StudySpec(
        name="s", objective="o.py:f", budget={"trials": n_trials}, sampler=sampler, seed=seed
    )
    storage = InMemoryStorage()
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], spec.name)
    workers = [Search(spec, storage) for _ in range(WORKERS)]
    for begin in range(0, n_trials, WORKERS):
        running = []
        for search in workers[: n_trials - begin]:
            trial_id = storage.create_new_trial(study_id)
            running.append(optuna.Trial(search.study_for(trial_id), trial_id))
            _ = running[-1].relative_params
        for trial in running:
            value = objective(trial)
            storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [value])
    return float(storage.get_best_trial(study_id).value or 0.0)


class Spent(NamedTuple):
    """The epochs that a search has trained, and the least loss of all its reports."""

    epochs: int
    value: float


def by_optuna(name: str, seed: int, n_trials: int) -> Spent:
    """Trains trials of a loop under plain Optuna."""
    study = optuna.create_study(
        study_name=f"{name}-{seed}",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.optimize(objective_loops.LOOPS[name], n_trials=n_trials)
    return _spent(study.trials)


def by_hpo(name: str, seed: int, limit: Spent) -> Spent:
    """Trains by hpo's default search until it is as good, or has trained as many epochs."""
    objective = f"{objective_loops.__file__}:{name}"
    spec = StudySpec(
        name=f"{name}-{seed}",
        objective=objective,
        budget={"total_epochs": limit.epochs, "target": limit.value},
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{Path(folder) / 'hpo.db'}"
        study = hpo.run(spec, storage=storage, workers=1, device="cpu", allow=(objective,))
        return _spent(study.optuna.trials)


def _spent(trials: Iterable[FrozenTrial]) -> Spent:
    losses = [loss for trial in trials for loss in trial.intermediate_values.values()]
    return Spent(len(losses), min(losses))


def compare_loops(n_seeds: int, n_trials: int, names: Sequence[str]) -> None:
    """Prints a line for each seed, and the median share of Optuna's epochs that hpo needs."""
    say("| loop | seed | Optuna's loss | its epochs | hpo's epochs | share |")
    say("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        shares = []
        for seed in range(n_seeds):
            limit = by_optuna(name, seed, n_trials)
            found = by_hpo(name, seed, limit)
            is_reached = found.value <= limit.value
            shares.append(found.epochs / limit.epochs if is_reached else math.inf)
            needed = str(found.epochs) if is_reached else f"not reached: {found.value:.4f}"
            share = f"{shares[-1]:.0%}" if is_reached else "more"
            say(f"| {name} | {seed} | {limit.value:.4f} | {limit.epochs} | {needed} | {share} |")
        median = statistics.median(shares)
        said = "more than 100%" if math.isinf(median) else f"{median:.0%}"
        say(f"| {name} | median | | | | {said} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table; of objectives without reports the median and the processor time a trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", default="auto,tpe,random")
    parser.add_argument("--loops", nargs="?", const=",".join(objective_loops.LOOPS))
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if given.loops:
        compare_loops(given.seeds, given.trials, given.loops.split(","))
        return
    say("| objective | sampler | median best | worst | ms a trial |")
    say("| --- | --- | ---: | ---: | ---: |")
    for name, objective in OBJECTIVES.items():
        for sampler in given.samplers.split(","):
            begin = time.process_time()
            found = [best_of(objective, sampler, seed, given.trials) for seed in range(given.seeds)]
            ms = 1000 * (time.process_time() - begin) / given.seeds / given.trials
            median = statistics.median(found)
            say(f"| {name} | {sampler} | {median:.2g} | {max(found):.2g} | {ms:.0f} |")


if __name__ == "__main__":
    main()
