"""How long 256 trials of the digits MLP take: a plain Optuna script against ``hpo run``.

Everybody trains on the same data, over the same space, with the same sampler, pruner and number of
epochs, into a SQLite file of their own, and is timed from the start of the first process to the end
of the last, imports included. Every process has one thread. Rounds of all take turns, and the
median counts, so that a busy machine harms all alike. A second table compares the engines alone,
at some points of the space: one trial after the other, and as lanes of one stack.

Run it from the checkout: ``python benchmarks/fused_cpu.py``.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from rich.console import Console
from rich.table import Table

from hpo.spec import toml
from hpo.spec.params import Params
from hpo.spec.study import StudySpec
from hpo.tasks.digits import DigitsMLP
from hpo.train.engine import Engine, Lane
from hpo.train.fused.engine import FusedEngine
from hpo.train.fused.sizing import Sizes
from hpo.train.solo import SoloEngine

ROOT = Path(__file__).resolve().parent
STUDY = ROOT.parent / "studies" / "digits_mlp.toml"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Depth, width, batch size.
POINTS = ((1, 32, 32), (2, 64, 32), (2, 64, 128), (3, 32, 256), (4, 128, 64))


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        wall_s: From the first start to the last end.
        cpu_s: Of all its processes.
        n_trials: That ended.
        n_epochs: That were trained.
        best: Best validation accuracy.
    """

    wall_s: float
    cpu_s: float
    n_trials: int
    n_epochs: int
    best: float


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines-only", action="store_true", help="skip the searches")
    told = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    if not told.engines_only:
        console.print(searches(told.trials, told.epochs, told.rounds))
    console.print(engines())


def searches(n_trials: int, n_epochs: int, n_rounds: int) -> Table:
    """Times every contestant once a round; ratios are of median wall-clock times."""
    contestants: dict[str, Callable[[Path], Run]] = {
        "Optuna script, 1 process": lambda f: optuna_script(f, n_trials, n_epochs, 1),
        "Optuna script, 2 processes": lambda f: optuna_script(f, n_trials, n_epochs, 2),
        "hpo run, solo, 2 workers": lambda f: hpo_run(f, n_trials, n_epochs, "solo"),
        "hpo run, fused, 2 workers": lambda f: hpo_run(f, n_trials, n_epochs, "auto"),
    }
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(n_rounds):
        for name, contestant in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                runs[name].append(contestant(Path(folder)))
    walls = {name: statistics.median(run.wall_s for run in found) for name, found in runs.items()}
    table = Table(title=f"{n_trials} trials of up to {n_epochs} epochs, {n_rounds} rounds")
    for column in ("", "wall s", "CPU s", "trials", "epochs", "best", "times as fast"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in runs.items():
        middle = sorted(found, key=lambda run: run.wall_s)[len(found) // 2]
        table.add_row(
            name,
            f"{walls[name]:.1f}",
            f"{statistics.median(run.cpu_s for run in found):.1f}",
            str(middle.n_trials),
            str(middle.n_epochs),
            f"{statistics.median(run.best for run in found):.4f}",
            f"{walls['Optuna script, 2 processes'] / walls[name]:.2f}",
        )
    return table


def optuna_script(folder: Path, n_trials: int, n_epochs: int, n_processes: int) -> Run:
    """Runs the plain script in some processes that share the trials."""
    url = f"sqlite:///{folder / 'optuna.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Several processes that create the same study at once would trip over each other.
    optuna.create_study(study_name="digits", storage=url, direction="maximize")
    shares = [n_trials // n_processes + (i < n_trials % n_processes) for i in range(n_processes)]
    script = str(ROOT / "peers" / "optuna_digits.py")
    commands = [
        [sys.executable, script, url, f"--trials={n}", f"--epochs={n_epochs}", f"--seed={i}"]
        for i, n in enumerate(shares)
    ]
    return timed(commands, folder / "optuna.db")


def hpo_run(folder: Path, n_trials: int, n_epochs: int, engine: str) -> Run:
    """Runs the study of the checkout, with another engine where one is named."""
    file = folder / "digits.toml"
    study = tomllib.loads(STUDY.read_text(encoding="utf-8"))
    study |= {"engine": engine, "sampler": "tpe", "pruner": {"name": "asha", "type": "stop"}}
    file.write_text(toml.dumps(StudySpec(**study)), encoding="utf-8")
    options = [f"--trials={n_trials}", f"--epochs={n_epochs}", "--workers=2"]
    where = ["--storage", f"sqlite:///{folder / 'hpo.db'}", "--artifacts", str(folder / "files")]
    command = [str(Path(sys.executable).with_name("hpo")), "run", str(file), *options, *where]
    return timed([command], folder / "hpo.db")


def timed(commands: list[list[str]], database: Path) -> Run:
    """Starts commands together and waits for all."""
    before, began_at = _cpu_s(), time.perf_counter()
    processes = [
        subprocess.Popen(c, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for c in commands
    ]
    codes = [process.wait() for process in processes]
    wall_s = time.perf_counter() - began_at
    if any(codes):
        raise SystemExit(f"{commands[0]} ended with {codes}")
    with sqlite3.connect(database) as connection:
        ended = "SELECT COUNT(*) FROM trials WHERE state NOT IN ('RUNNING', 'WAITING')"
        (n_trials,) = connection.execute(ended).fetchone()
        reports = "SELECT COUNT(*) FROM trial_intermediate_values"
        (n_epochs,) = connection.execute(reports).fetchone()
        (best,) = connection.execute("SELECT MAX(value) FROM trial_values").fetchone()
    connection.close()
    return Run(wall_s, _cpu_s() - before, n_trials, n_epochs, best)


def engines(n_rounds: int = 3) -> Table:
    """Compares the engines at some points: milliseconds of one epoch of one trial."""
    task = DigitsMLP()
    splits = task.data().splits()
    n_lanes = (2, 4, 8, 16, 32)
    table = Table(title="ms of an epoch of one trial; in brackets how many times as fast as solo")
    for column in ("depth, width, batch", "solo", *(f"{n} lanes" for n in n_lanes)):
        table.add_column(column, justify="right")
    for point in POINTS:
        solo = SoloEngine(task, splits, "val_accuracy", "maximize")
        alone = min(epochs(solo, point, 1, n_rounds))
        cells = []
        for n in n_lanes:
            sizes = Sizes(torch.device("cpu"), fixed=n)
            engine = FusedEngine(task, splits, "val_accuracy", "maximize", sizes=sizes)
            each = min(epochs(engine, point, n, n_rounds)) / n
            cells.append(f"{1e3 * each:.2f} ({alone / each:.1f})")
        table.add_row(", ".join(map(str, point)), f"{1e3 * alone:.2f}", *cells)
    return table


def epochs(
    engine: Engine, point: tuple[int, int, int], n_lanes: int, n_rounds: int
) -> Iterator[float]:
    """Yields the seconds of epochs of all lanes together, the first left out."""
    depth, width, batch_size = point
    for key in range(n_lanes):
        rate = 0.01 * (1 + key / n_lanes)
        params = {"depth": depth, "width": width, "batch_size": batch_size, "learning_rate": rate}
        lane = Lane(key, Params({**params, "momentum": 0.9, "weight_decay": 1e-4}), key, 0, 100)
        assert engine.add(lane) is None
    engine.advance()
    for _ in range(2 * n_rounds):
        began_at = time.perf_counter()
        assert len(engine.advance()) == n_lanes
        yield time.perf_counter() - began_at


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
