"""How good a search is: regret on LCBench at equal epochs, against Optuna and Syne Tune.

A simulation of asynchronous workers trains on a surrogate of LCBench's learning curves. The budget
is 100 full trainings, 5,200 epochs, of all workers together. Regret is how far the best validation
accuracy so far is from the best known one: 0 is the best, 1 the median of random full trainings;
the table has its mean over the 12 development tasks, and the standard error of that over seeds.
Our own methods are the classes that workers use.

The folder has, from YAHPO Gym's data (github.com/slds-lmu/yahpo_data, folder lcbench, Apache-2.0),
model.onnx, encoding.json and config_space.json, and a best.json with what is known of each task;
see ``Surrogate``. It needs the extra ``bench``; Syne Tune is compared where it is installed.

Run it from the checkout: ``OMP_NUM_THREADS=1 python benchmarks/lcbench.py DATA_DIR --seeds 5``.
Results are kept in ``build/lcbench.jsonl``, and only runs that are missing there are made.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lcbench_data import EPOCHS, Surrogate
from benchmarks.lcbench_methods import METHODS, Setting
from benchmarks.lcbench_portfolio import explored
from benchmarks.lcbench_simulator import FRACTIONS, FULL_TRAININGS, Simulation

BUILD = Path(__file__).resolve().parent.parent / "build"
BUDGET = float(FULL_TRAININGS * EPOCHS)


@dataclass(frozen=True)
class Job:
    """One run of the benchmark.

    Attributes:
        method: One of ``METHODS``.
        task: A task of LCBench.
        seed: Of the method.
        workers: Trials in flight.
        is_stack: Whether they are lanes of one worker.
    """

    method: str
    task: str
    seed: int
    workers: int
    is_stack: bool

    @property
    def label(self) -> tuple[str, str]:
        """What stands in the table: the method, and the trials in flight."""
        return self.method, f"{self.workers} lanes" if self.is_stack else f"{self.workers}"


@dataclass(frozen=True)
class Result:
    """What came out of a run.

    Attributes:
        regret: At each of ``FRACTIONS`` of the budget, the first ones only where the run ended.
        n_trials: Trials begun.
        n_full: Trials trained to the end.
        ask_ms: Mean time of a question for work, in milliseconds.
    """

    regret: Sequence[float]
    n_trials: int
    n_full: int
    ask_ms: float


def run(job: Job, data: Path, until: float) -> Result:
    """Makes one run, up to a share of the budget."""
    torch.set_num_threads(1)
    surrogate = Surrogate(data)
    # Nothing that is known of the task at hand may be used.
    portfolio = explored(surrogate, BUILD).portfolio(without=job.task)
    seed = job.seed * 1000 + int(job.task) % 1000
    method = METHODS[job.method](Setting(seed, portfolio, BUDGET, job.workers))
    simulation = Simulation(
        method, lambda point: surrogate.curve(point, job.task), EPOCHS, job.workers, job.is_stack
    )
    outcome = simulation.run(BUDGET * until)
    known = surrogate.known[job.task]
    return Result(
        regret=[known.regret(outcome.best(share / until)) for share in _shares(until)],
        n_trials=outcome.n_trials,
        n_full=outcome.n_full,
        ask_ms=1e3 * statistics.mean(outcome.ask_s),
    )


def _shares(until: float) -> list[float]:
    return [share for share in FRACTIONS if share <= until]


def run_missing(
    jobs: Iterable[Job], data: Path, path: Path, n_processes: int, until: float
) -> dict[Job, Result]:
    """Makes the runs that are not in a file yet, and notes each there as soon as it is made.

    Returns:
        The results of all jobs, but for methods that are not installed.
    """
    n_shares = len(_shares(until))
    done = {job: one for job, one in _read(path).items() if len(one.regret) >= n_shares}
    missing = [job for job in jobs if job not in done]
    with ProcessPoolExecutor(n_processes) as pool, path.open("a", encoding="utf-8") as file:
        futures = {pool.submit(run, job, data, until): job for job in missing}
        for future in track(as_completed(futures), "running", total=len(futures), transient=True):
            job = futures[future]
            try:
                done[job] = future.result()
            except ImportError:
                continue
            file.write(json.dumps({**asdict(job), **asdict(done[job])}) + "\n")
            file.flush()
    return {job: done[job] for job in jobs if job in done}


def _read(path: Path) -> dict[Job, Result]:
    found = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for row in map(json.loads, lines):
        job = Job(*(row.pop(name) for name in Job.__dataclass_fields__))
        found[job] = Result(**row)
    return found


def table_of(results: Mapping[Job, Result], tasks: Sequence[str]) -> Table:
    """Returns the table: a line for each method and number of workers."""
    table = Table("method", "in flight", "seeds", *(f"{share:.0%}" for share in FRACTIONS))
    for column in ("trials", "full", "ask, ms"):
        table.add_column(column, justify="right")
    groups: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in results:
        groups[job.label].append(job)
    for label, jobs in groups.items():
        by_seed: dict[int, list[Job]] = defaultdict(list)
        for job in jobs:
            by_seed[job.seed].append(job)
        whole = [each for each in by_seed.values() if len(each) == len(tasks)]
        if whole:
            table.add_row(*label, str(len(whole)), *_cells(results, whole))
    return table


def _cells(results: Mapping[Job, Result], seeds: Sequence[Sequence[Job]]) -> list[str]:
    cells = []
    for i in range(len(FRACTIONS)):
        if any(len(results[job].regret) <= i for jobs in seeds for job in jobs):
            cells.append("")
            continue
        means = [statistics.mean(results[job].regret[i] for job in jobs) for jobs in seeds]
        error = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else None
        cells.append(f"{statistics.mean(means):.3f}" + (f" ± {error:.3f}" if error else ""))
    every = [results[job] for jobs in seeds for job in jobs]
    cells.append(f"{statistics.mean(one.n_trials for one in every):.0f}")
    cells.append(f"{statistics.mean(one.n_full for one in every):.0f}")
    return [*cells, f"{statistics.mean(one.ask_ms for one in every):.0f}"]


def best_known(surrogate: Surrogate, tasks: Sequence[str], workers: int) -> list[float]:
    """Returns the regret of the best known params, begun at once: what depth alone forbids.

    Args:
        surrogate: The curves.
        tasks: Over which the mean is taken.
        workers: Trials in flight, so that none has had more than its share of the epochs.

    Returns:
        The mean regret at each of ``FRACTIONS`` of the budget.
    """
    regrets = []
    for task in tasks:
        known = surrogate.known[task]
        values, _ = surrogate.curve(known.best_params, task)
        depths = [min(EPOCHS, int(share * BUDGET / workers)) for share in FRACTIONS]
        regrets.append([known.regret(float(values[:depth].max())) for depth in depths])
    return [statistics.mean(at_share) for at_share in zip(*regrets, strict=True)]


def main() -> None:
    """Makes the runs that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the surrogate")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[4])
    parser.add_argument("--lanes", type=int, nargs="*", default=[], help="of one worker")
    parser.add_argument("--tasks", nargs="*", help="development tasks; all 12 by default")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--until", type=float, default=1.0, help="share of the budget to spend")
    parser.add_argument("--results", type=Path, default=BUILD / "lcbench.jsonl")
    options = parser.parse_args()
    surrogate = Surrogate(options.data)
    explored(surrogate, BUILD)
    tasks = options.tasks or surrogate.development
    flights = [(n, False) for n in options.workers] + [(n, True) for n in options.lanes]
    jobs = [
        Job(method, task, seed, n, is_stack)
        for n, is_stack in flights
        for method in options.methods
        for seed in range(options.seeds)
        for task in tasks
    ]
    results = run_missing(jobs, options.data, options.results, options.processes, options.until)
    console = Console(width=130)
    console.print(table_of(results, tasks))
    for n in sorted({n for n, _ in flights}):
        shown = ", ".join(f"{regret:.3f}" for regret in best_known(surrogate, tasks, n))
        console.print(f"The best known params, begun at once by one of {n}: {shown}.")


if __name__ == "__main__":
    main()
