"""How many trials an hour a GPU trains: Optuna scripts and ModelBatch against ``hpo run``.

Everybody trains the same models on the same data, over the same space, with TPE and successive
halving (which ModelBatch does not have: its trials all train to the end), into a SQLite file of
their own, and is timed from the start of the first process to the end of the last, imports
included. The plain script runs in 1, 2, 4, 8 and 16 processes at once; the fastest is what
the others are compared with. A second table compares the engines alone, a third a step of a stack
with the matrix products that it consists of.

Run it from the checkout, on a machine with a GPU: ``python benchmarks/fused_gpu.py``. With
``--dry-run`` it does everything in a tiny form on the CPU; its numbers mean nothing then.
ModelBatch takes part where it is installed: ``pip install --no-deps modelbatch==0.1.0``, or
with ``--target`` a folder that ``PYTHONPATH`` names.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import contests
import optuna
import torch
from contests import ROOT, Limit, Run
from fused_hpo_tasks import TASKS
from fused_problems import PROBLEMS, study_file
from rich.console import Console
from rich.table import Table

from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.solo import SoloEngine

Contestant = Callable[[Path], Run]
# Points of the problems' spaces, and how many lanes a stack of each has.
POINTS: Mapping[str, Sequence[tuple[dict[str, Any], tuple[int, ...]]]] = {
    "digits": (
        ({"depth": 2, "width": 64, "batch_size": 32}, (32, 128, 512)),
        ({"depth": 3, "width": 128, "batch_size": 128}, (32, 128, 512)),
        ({"depth": 3, "width": 256, "batch_size": 256}, (32, 128, 512)),
    ),
    "synthetic": (({"width": 512, "batch_size": 256}, (8, 32, 64)),),
    "cnn": (({"width": 32, "batch_size": 64}, (8, 32, 128)),),
}


@dataclass(frozen=True)
class Plan:
    """How large everything is.

    Attributes:
        device: As PyTorch names it.
        n_trials: Of each search.
        n_epochs: Of a trial, at most; None for the problem's own.
        processes: Numbers of processes of the plain script.
        lanes: Most lanes of a stack; of ModelBatch's groups too.
        n_timed: Epochs of which the engines' fastest counts.
    """

    device: str
    n_trials: int = 512
    n_epochs: int | None = None
    processes: tuple[int, ...] = (1, 2, 4, 8, 16)
    lanes: int = 512
    n_timed: int = 5


DRY = Plan("cpu", n_trials=4, n_epochs=2, processes=(1, 2), lanes=4, n_timed=1)


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=Plan.n_trials)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--problems", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--engines-only", action="store_true", help="skip the searches")
    parser.add_argument("--dry-run", action="store_true", help="everything tiny, on the CPU")
    told = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    plan = DRY if told.dry_run else Plan(told.device, told.trials)
    if told.dry_run:
        os.environ["FUSED_DRY_RUN"] = contests.ENVIRONMENT["FUSED_DRY_RUN"] = "1"
        console.print("A dry run: the numbers mean nothing.")
    elif plan.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --dry-run does everything tiny on the CPU")
    if not has_modelbatch():
        console.print("ModelBatch is not installed, and is left out.")
    for name in told.problems:
        if not told.engines_only:
            # Starting programs takes most of a dry run: one problem has all contestants.
            every = not told.dry_run or name == told.problems[0]
            console.print(searches(name, plan if every else replace(plan, processes=(1,)), every))
        console.print(engines(name, plan))
    console.print(contests.limit_table(limits(told.problems, plan)))


def searches(name: str, plan: Plan, every: bool = True) -> Table:
    """Times every contestant once; ratios are to the fastest number of processes."""
    scripts: dict[str, Contestant] = {
        f"Optuna script, {n} process{'es' if n > 1 else ''}": _script(name, plan, n)
        for n in plan.processes
    }
    others: dict[str, Contestant] = {}
    if every and has_modelbatch():
        others["ModelBatch with Optuna, no pruner"] = _modelbatch(name, plan)
    if every:
        others["hpo run, solo, 1 worker"] = _hpo_run(name, plan, "solo")
    others["hpo run, fused, 1 worker"] = _hpo_run(name, plan, "auto")
    runs: dict[str, list[Run]] = {}
    for label, contestant in {**scripts, **others}.items():
        with tempfile.TemporaryDirectory() as folder:
            runs[label] = [contestant(Path(folder))]
    best = min(scripts, key=lambda label: runs[label][0].wall_s)
    title = f"{name}: {plan.n_trials} trials of up to {_epochs(name, plan)} epochs on {plan.device}"
    return contests.search_table(f"{title}; 1.00 is {best}", runs, best)


def has_modelbatch() -> bool:
    """Tells whether the peer is there."""
    return importlib.util.find_spec("modelbatch") is not None


def engines(name: str, plan: Plan) -> Table:
    """Compares the engines: trials an hour at some points, of epochs without a database."""
    task = TASKS[name]()
    splits = task.data().splits()
    title = f"{name}: trials of {PROBLEMS[name].epochs} epochs an hour, by the engine alone"
    table = Table(title=title)
    for column in ("", "lanes", "solo", "fused", "times as many"):
        table.add_column(column, justify="left" if not column else "right")
    for point, lanes in POINTS[name]:
        params = {**point, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
        solo = SoloEngine(task, splits, *contests.METRIC, plan.device)
        alone = _an_hour(min(contests.epochs(solo, params, 1, plan.n_timed)), 1, name)
        for n in sorted({min(n, plan.lanes) for n in lanes}):
            sizes = StackSizes(torch.device(plan.device), fixed=n)
            engine = FusedEngine(task, splits, *contests.METRIC, plan.device, sizes)
            seconds = min(contests.epochs(engine, params, n, plan.n_timed))
            fused = _an_hour(seconds, n, name)
            row = (f"{alone:,.0f}", f"{fused:,.0f}", f"{fused / alone:.1f}")
            table.add_row(_words(point), str(n), *row)
            assert not engine.alone, engine.alone
    return table


def limits(names: Sequence[str], plan: Plan) -> dict[str, Limit]:
    """Returns how near a step comes to its products, for chains of linear layers."""
    found = {}
    for name in names:
        for point, lanes in POINTS[name] if name != "cnn" else ():
            params = {**point, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
            n = min(max(lanes), plan.lanes)
            label = f"{name}: {_words(point)}, {n} lanes"
            found[label] = contests.limit_of(TASKS[name](), params, n, plan.device)
    return found


def _script(name: str, plan: Plan, n_processes: int) -> Contestant:
    def run(folder: Path) -> Run:
        url = f"sqlite:///{folder / 'optuna.db'}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Several processes that create the same study at once would trip over each other.
        optuna.create_study(study_name="problem", storage=url, direction="maximize")
        options = [f"--epochs={_epochs(name, plan)}", f"--device={plan.device}"]
        script = str(ROOT / "peers" / "optuna_problem.py")
        commands = [
            [sys.executable, script, url, name, f"--trials={n}", f"--seed={i}", *options]
            for i, n in enumerate(contests.shares(plan.n_trials, n_processes))
        ]
        return contests.timed(commands, folder / "optuna.db")

    return run


def _modelbatch(name: str, plan: Plan) -> Contestant:
    def run(folder: Path) -> Run:
        script = str(ROOT / "peers" / "modelbatch_problem.py")
        options = [f"--epochs={_epochs(name, plan)}", f"--device={plan.device}"]
        options += [f"--trials={plan.n_trials}", f"--lanes={plan.lanes}"]
        url = f"sqlite:///{folder / 'peer.db'}"
        return contests.timed([[sys.executable, script, url, name, *options]], folder / "peer.db")

    return run


def _hpo_run(name: str, plan: Plan, engine: str) -> Contestant:
    def run(folder: Path) -> Run:
        file = folder / "problem.toml"
        task = str(ROOT / "fused_hpo_tasks.py")
        file.write_text(study_file(name, PROBLEMS[name], engine, task), encoding="utf-8")
        command = contests.hpo_command(file, folder, plan.n_trials, _epochs(name, plan))
        return contests.timed([[*command, "--workers=1"]], folder / "hpo.db")

    return run


def _epochs(name: str, plan: Plan) -> int:
    return plan.n_epochs or PROBLEMS[name].epochs


def _an_hour(epoch_s: float, n_lanes: int, name: str) -> float:
    return 3600 * n_lanes / (epoch_s * PROBLEMS[name].epochs)


def _words(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.items())


if __name__ == "__main__":
    main()
