"""How long 256 trials of the digits MLP take: a plain Optuna script against ``hpo run``.

Everybody trains on the same data, over the same space, with the same sampler, pruner and number of
epochs, into a SQLite file of their own, and is timed from the start of the first process to the end
of the last, imports included. Every process has one thread. Rounds of all take turns, and the
median counts, so that a busy machine harms all alike. A second table compares the engines alone,
at some points of the space: one trial after the other, and as lanes of one stack. A third compares
a step with the matrix products that it consists of.

ModelBatch takes part where it is installed (``pip install --no-deps modelbatch==0.1.0``); it has no
pruner, and its trials all train to the end.

Run it from the checkout: ``python benchmarks/fused_cpu.py``.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import contests
import optuna
import torch
from contests import ROOT, Limit, Run
from rich.console import Console
from rich.table import Table

from hpo.run.worker.malloc_settings import keep_freed
from hpo.spec import toml
from hpo.spec.study_spec import StudySpec
from hpo.tasks.digits import DigitsMLP
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.fused.stack.stack import Stack
from hpo.train.loop.solo import SoloEngine

STUDY = ROOT.parent / "studies" / "digits_mlp.toml"
# Depth, width, batch size.
Point: TypeAlias = tuple[int, int, int]
POINTS = ((1, 32, 32), (2, 64, 32), (2, 64, 128), (3, 32, 256), (4, 128, 64))


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines-only", action="store_true", help="skip the searches")
    parser.add_argument("--batch-sizes", action="store_true", help="nothing but the stacks of them")
    parser.add_argument("--points", type=int, default=len(POINTS), help="of the space")
    told = parser.parse_args()
    points = POINTS[: told.points]
    torch.set_num_threads(1)
    keep_freed()  # as workers do
    console = Console()
    if told.batch_sizes:
        console.print(batch_sizes())
        return
    if not told.engines_only:
        console.print(searches(told.trials, told.epochs, told.rounds))
    console.print(engines(points))
    console.print(contests.limit_table(limits(points)))


def searches(n_trials: int, n_epochs: int, n_rounds: int) -> Table:
    """Times every contestant once a round; ratios are of median wall-clock times."""
    contestants: dict[str, Callable[[Path], Run]] = {
        "Optuna script, 1 process": lambda f: optuna_script(f, n_trials, n_epochs, 1),
        "Optuna script, 2 processes": lambda f: optuna_script(f, n_trials, n_epochs, 2),
        "hpo run, solo, 2 workers": lambda f: hpo_run(f, n_trials, n_epochs, "solo"),
        "hpo run, fused, 2 workers": lambda f: hpo_run(f, n_trials, n_epochs, "auto"),
    }
    if importlib.util.find_spec("modelbatch") is not None:
        peer = "ModelBatch with Optuna, no pruner"
        contestants[peer] = lambda f: modelbatch(f, n_trials, n_epochs)
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(n_rounds):
        for name, contestant in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                runs[name].append(contestant(Path(folder)))
    title = f"{n_trials} trials of up to {n_epochs} epochs, {n_rounds} rounds"
    return contests.search_table(title, runs, "Optuna script, 2 processes")


def optuna_script(folder: Path, n_trials: int, n_epochs: int, n_processes: int) -> Run:
    """Runs the plain script in some processes that share the trials."""
    url = f"sqlite:///{folder / 'optuna.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Several processes that create the same study at once would trip over each other.
    optuna.create_study(study_name="digits", storage=url, direction="maximize")
    script = str(ROOT / "peers" / "optuna_digits.py")
    commands = [
        [sys.executable, script, url, f"--trials={n}", f"--epochs={n_epochs}", f"--seed={i}"]
        for i, n in enumerate(contests.shares(n_trials, n_processes))
    ]
    return contests.timed(commands, folder / "optuna.db")


def hpo_run(folder: Path, n_trials: int, n_epochs: int, engine: str) -> Run:
    """Runs the study of the checkout, with another engine where one is named."""
    file = folder / "digits.toml"
    study = tomllib.loads(STUDY.read_text(encoding="utf-8"))
    study |= {"engine": engine, "sampler": "tpe", "pruner": {"name": "asha", "type": "stop"}}
    file.write_text(toml.dumps(StudySpec(**study)), encoding="utf-8")
    command = contests.hpo_command(file, folder, n_trials, n_epochs)
    return contests.timed([[*command, "--workers=2"]], folder / "hpo.db")


def modelbatch(folder: Path, n_trials: int, n_epochs: int) -> Run:
    """Runs ModelBatch on the same space, without a pruner, which it does not have."""
    script = str(ROOT / "peers" / "modelbatch_problem.py")
    options = [f"--trials={n_trials}", f"--epochs={n_epochs}", "--lanes=32"]
    url = f"sqlite:///{folder / 'peer.db'}"
    command = [sys.executable, script, url, "digits-study", *options]
    return contests.timed([command], folder / "peer.db")


def engines(points: Sequence[Point], n_rounds: int = 3) -> Table:
    """Compares the engines at some points: milliseconds of one epoch of one trial."""
    task = DigitsMLP()
    splits = task.data().splits()
    n_lanes = (2, 4, 8, 16, 32)
    table = Table(title="ms of an epoch of one trial; in brackets how many times as fast as solo")
    for column in ("depth, width, batch", "solo", *(f"{n} lanes" for n in n_lanes)):
        table.add_column(column, justify="right")
    for point in points:
        solo = SoloEngine(task, splits, "val_accuracy", "maximize")
        alone = min(contests.epochs(solo, params(point), 1, 2 * n_rounds))
        cells = []
        for n in n_lanes:
            sizes = StackSizes(torch.device("cpu"), fixed=n)
            engine = FusedEngine(task, splits, "val_accuracy", "maximize", sizes=sizes)
            each = min(contests.epochs(engine, params(point), n, 2 * n_rounds)) / n
            cells.append(f"{1e3 * each:.2f} ({alone / each:.1f})")
        table.add_row(", ".join(map(str, point)), f"{1e3 * alone:.2f}", *cells)
    return table


def batch_sizes(n_rounds: int = 3) -> Table:
    """Compares a stack for each batch size with one for all: ms of an epoch of all lanes."""
    task, sizes, n_lanes = DigitsMLP(), (32, 64, 128, 256), (4, 8, 16, 32, 64)
    table = Table(title="ms of an epoch of all lanes, a quarter of them of each batch size")
    for column in ("depth, width", "stacks", *(f"{n} lanes" for n in n_lanes)):
        table.add_column(column, justify="right")
    for depth, width in ((1, 32), (2, 64), (3, 128)):
        shape = {"depth": depth, "width": width, "normalization": "none", "momentum": 0.9}
        cells: dict[str, list[str]] = {"four": [], "one": []}
        for n in n_lanes:
            each = [[{**shape, "batch_size": size}] * (n // len(sizes)) for size in sizes]
            stacks = [contests.stack_of(task, params, "cpu") for params in each]
            shared = contests.stack_of(task, [params for some in each for params in some], "cpu")
            # In turns, so that a busy machine harms both alike.
            found: dict[str, list[float]] = {"four": [], "one": []}
            for _ in range(n_rounds):
                found["four"].append(sum(map(epoch_s, stacks)))
                found["one"].append(epoch_s(shared))
            for name, seconds in found.items():
                cells[name].append(f"{1e3 * min(seconds):.1f}")
        for name, row in cells.items():
            table.add_row(f"{depth}, {width}", name, *row)
    return table


def epoch_s(stack: Stack) -> float:
    """Returns the seconds of the steps of an epoch."""
    epoch = stack.next_epoch()
    return contests.fastest(lambda: stack.losses(epoch), torch.device("cpu"), n_times=2)


def limits(points: Sequence[Point]) -> dict[str, Limit]:
    """Returns how near a step comes to its products, at the same points."""
    return {
        f"{', '.join(map(str, point))}: {n} lanes": contests.limit_of(
            DigitsMLP(), params(point), n, "cpu"
        )
        for point in points
        for n in (8, 32)
    }


def params(point: Point) -> dict[str, float]:
    """Returns what all lanes of a point have in common."""
    depth, width, batch_size = point
    shape = {"depth": depth, "width": width, "batch_size": batch_size}
    return {**shape, "momentum": 0.9, "weight_decay": 1e-4}


if __name__ == "__main__":
    main()
