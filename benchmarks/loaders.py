"""What an epoch of a trial costs on a folder of images, against a plain loop with a DataLoader.

Both train one small network, read the same files with as many processes, and validate after each
epoch. They take turns; the ratios of each turn count, by their median. ``loaders_fused.py`` does
the same for a stack.

Run it from the checkout: ``python benchmarks/loaders.py``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loaders_fused import BATCH_SIZE, Task, make_files, plain_epochs
from hpo.spec.space.params import Params
from hpo.spec.study_spec import ValidationSpec
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine


def solo_epochs(folder: Path, workers: int) -> Callable[[], None]:
    """Returns what trains and validates a trial for an epoch."""
    task = Task(folder, workers)
    folds = task.data().folds(ValidationSpec())
    engine = SoloEngine(task, folds, "val_accuracy", "maximize")
    params = Params({"learning_rate": 0.05, "batch_size": BATCH_SIZE, "optimizer": "sgd"})
    assert engine.add(Lane(0, params, seed=0, epoch=0, epoch_stop=1000)) is None

    def epoch() -> None:
        (report,) = engine.advance()
        assert report.failure is None, report.failure

    return epoch


def memory() -> float:
    """Returns the memory of this process and its children in MiB."""
    own = psutil.Process()
    return sum(one.memory_info().rss for one in (own, *own.children(recursive=True))) / 2**20


def measured(
    epochs: list[Callable[[], None]], rounds: int
) -> tuple[list[list[float]], list[float]]:
    """Returns the seconds of each loop in each round, and the memory after each round."""
    found: list[list[float]] = [[] for _ in epochs]
    used = []
    for turn in range(rounds + 1):
        for i, epoch in enumerate(epochs):
            began_at = time.perf_counter()
            epoch()
            # The first starts processes and chooses kernels.
            if turn:
                found[i].append(time.perf_counter() - began_at)
        used.append(memory())
    return found, used


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=4000, help="to train on")
    parser.add_argument("--workers", type=int, default=1, help="processes that read files")
    told = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, "train", told.files)
        make_files(folder, "val", told.files // 4)
        epochs = [make(folder, told.workers) for make in (plain_epochs, solo_epochs)]
        (plain, ours), used = measured(epochs, told.rounds)
    ratio = statistics.median(b / a for a, b in zip(plain, ours, strict=True))
    table = Table(title=f"An epoch of {told.files} files, {told.rounds} rounds")
    for column in ("", "seconds", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("plain loop", f"{statistics.median(plain):.2f}", "1.00")
    table.add_row("trial", f"{statistics.median(ours):.2f}", f"{ratio:.2f}")
    Console().print(table)
    Console().print(f"memory after each round, in MiB: {', '.join(f'{m:.0f}' for m in used)}")


if __name__ == "__main__":
    main()
