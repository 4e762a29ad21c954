"""What a budget of trials brings, of objectives without reports: hpo's default beside Optuna's.

Two workers draw their params at the same time, each without the others'. Run it with
``python -m benchmarks.objectives --seeds 10 --trials 40``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table: the median of the seeds' best values, and processor time a trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", default="auto,tpe,random")
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
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
