"""How many epochs the search needs on real studies, against Optuna's default.

Each study of ``studies/`` that is named is searched by Optuna's TPE, with and without median
pruning, and by ``auto``, four trials at a time. Every trial is really trained, epoch by epoch, as
far as the method goes. Nothing is learnt from these studies: they guard against fitting the
surrogate of ``lcbench.py``. The table tells with which share of the peer's epochs ``auto`` has
reached the peer's final value; its median over studies and seeds should be a quarter at most.

Run it from the checkout: ``OMP_NUM_THREADS=1 python benchmarks/real_studies.py digits_mlp wine``.
Results are kept in ``build/real_studies.jsonl``, and only searches that are missing are made.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import torch
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lcbench_own import Own
from benchmarks.lcbench_peers import OfOptuna
from benchmarks.lcbench_simulator import Job, Method, Reply, Simulation
from hpo.search.base.derived_seeds import mix
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec import toml
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Fixed
from hpo.spec.study_spec import StudySpec
from hpo.tasks.code.resolve import resolve
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
METHODS: Final = ("auto", "tpe", "tpe + median")
WORKERS: Final = 4


class Curve(Sequence[float]):
    """The objective of a trial after each epoch, trained when it is asked for.

    Larger is better. A trial that fails stays where it was, or at minus infinity.

    Args:
        engine: Trains the trial, which is its only lane.
        horizon: Epochs of a full training.
        metric: The objective.
        sign: 1 to maximise, -1 to minimise.
    """

    def __init__(self, engine: SoloEngine, horizon: int, metric: str, sign: float) -> None:
        self._engine = engine
        self._horizon = horizon
        self._metric = metric
        self._sign = sign
        self._values: list[float] = []

    def __len__(self) -> int:
        return self._horizon

    def __getitem__(self, epoch: Any) -> Any:
        while len(self._values) <= epoch:
            report = self._engine.advance()
            failed = not report or report[0].failure is not None
            value = math.nan if failed else self._sign * report[0].metrics[self._metric]
            self._values.append(value if math.isfinite(value) else -1e6)
        return self._values[epoch]


class Trainer:
    """Trains the trials of one study.

    Args:
        spec: The study, with its task's metric and space.
        task: Its task.
        splits: Its data.
    """

    def __init__(self, spec: StudySpec, task: Task, splits: Splits) -> None:
        self.spec = spec
        self._task = task
        self._splits = splits
        self.sign = 1.0 if spec.directions[0] == "maximize" else -1.0
        self._n_trials = 0
        fixed = {n: p.value for n, p in spec.space.parameters.items() if isinstance(p, Fixed)}
        self._fixed: Mapping[str, Any] = fixed

    def curve(self, params: Mapping[str, Any]) -> tuple[Curve, np.ndarray]:
        """Returns a new trial's values, and the costs of its epochs."""
        spec, number = self.spec, self._n_trials
        self._n_trials += 1
        engine = SoloEngine(self._task, self._splits, spec.metrics[0], spec.directions[0])
        epochs = spec.budget.epochs
        engine.add(
            Lane(
                key=number,
                params=Params({**self._fixed, **params}),
                seed=mix(spec.seed, number),
                epoch=0,
                epoch_stop=epochs,
                horizon=epochs,
            )
        )
        return Curve(engine, epochs, spec.metrics[0], self.sign), np.ones(epochs)


@dataclass(frozen=True)
class Run:
    """One search of one study.

    Attributes:
        study: Name of its file.
        method: One of ``METHODS``.
        seed: Of the search and of the trials.
        n_trials: Instead of those of the study; None for those.
    """

    study: str
    method: str
    seed: int
    n_trials: int | None = None


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        trace: Epochs spent at each improvement, and the value, with the sign that makes larger
            ones better.
        n_epochs: Epochs trained in all.
        n_trials: Trials begun.
    """

    trace: Sequence[Sequence[float]]
    n_epochs: int
    n_trials: int


def load(name: str, seed: int) -> Trainer:
    """Returns what trains the trials of a study."""
    path = ROOT / "studies" / f"{name}.toml"
    spec = toml.load(path)
    assert spec.task is not None
    task = resolve(spec.task, spec.task_options, path.parent)
    task.setup()
    spec = spec.with_defaults(metric=task.metric, direction=task.direction, space=task.space)
    table = {**spec.to_table(), "seed": seed, "sampler": "auto", "pruner": "auto"}
    return Trainer(StudySpec(**table), task, task.data().splits(spec.validation))


class Limited:
    """A method that begins no more than some trials.

    Args:
        method: The method.
        n_trials: How many it may begin.
    """

    def __init__(self, method: Method, n_trials: int) -> None:
        self._method = method
        self._n_left = n_trials

    def ask(self, n: int) -> Sequence[Job]:
        """See ``Method``."""
        jobs = self._method.ask(min(n, self._n_left)) if self._n_left else []
        self._n_left -= sum(job.params is not None for job in jobs)
        return jobs

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """See ``Method``."""
        return self._method.tell(trial, epoch, value)


def search(run: Run) -> Found:
    """Searches a study: the peers with its number of trials, ``auto`` with as many epochs."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trainer = load(run.study, run.seed)
    spec = trainer.spec
    epochs, n_trials = spec.budget.epochs, run.n_trials or spec.budget.trials or 40
    budget = float(n_trials * epochs)
    method: Method
    if run.method == "auto":
        method = Own(make_scheduler(spec), spec.space, epochs, budget, WORKERS)
    else:
        pruner = MedianPruner() if "median" in run.method else NopPruner()
        # Curves have the sign that makes larger values better.
        peer = OfOptuna(TPESampler(seed=run.seed), pruner, spec.space, epochs)
        method = Limited(peer, n_trials)
    outcome = Simulation(method, trainer.curve, epochs, WORKERS).run(budget)
    trace = [(budget * share, value) for share, value in outcome.trace]
    return Found(trace, outcome.n_epochs, outcome.n_trials)


def share_needed(auto: Found, peer: Found) -> float:
    """Returns the share of the peer's epochs that reached its best value; infinity if none did."""
    goal = peer.trace[-1][1] - 1e-9
    reached = next((epochs for epochs, value in auto.trace if value >= goal), math.inf)
    return reached / peer.n_epochs


def run_missing(runs: Sequence[Run], path: Path, n_processes: int) -> dict[Run, Found]:
    """Makes the searches that are not in a file yet, and notes each there."""
    BUILD.mkdir(exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = {Run(**row["run"]): Found(**row["found"]) for row in map(json.loads, lines)}
    missing = [run for run in runs if run not in found]
    with ProcessPoolExecutor(n_processes) as pool, path.open("a", encoding="utf-8") as file:
        for run, one in track(
            zip(missing, pool.map(search, missing), strict=True), total=len(missing)
        ):
            found[run] = one
            file.write(json.dumps({"run": asdict(run), "found": asdict(one)}) + "\n")
            file.flush()
    return found


def main() -> None:
    """Makes the searches that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", default=["digits_mlp", "digits_cnn", "wine"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=BUILD / "real_studies.jsonl")
    parser.add_argument("--trials", type=int, help="instead of those of the studies")
    options = parser.parse_args()
    runs = [
        Run(study, method, seed, options.trials)
        for study in options.studies
        for seed in range(options.seeds)
        for method in METHODS
    ]
    found = run_missing(runs, options.results, options.processes)
    table = Table("study", "seed", *METHODS, "share of tpe", "share of tpe + median")
    shares: dict[str, list[float]] = {method: [] for method in METHODS[1:]}
    for study in options.studies:
        for seed in range(options.seeds):
            each = {method: found[Run(study, method, seed, options.trials)] for method in METHODS}
            needed = {peer: share_needed(each["auto"], each[peer]) for peer in METHODS[1:]}
            for peer, share in needed.items():
                shares[peer].append(share)
            values = [f"{one.trace[-1][1]:.4f} in {one.n_epochs}" for one in each.values()]
            table.add_row(study, str(seed), *values, *(f"{s:.2f}" for s in needed.values()))
    medians = [f"{statistics.median(one):.2f}" for one in shares.values()]
    table.add_row("median", "", "", "", "", *medians)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
