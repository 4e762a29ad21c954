"""What five folds of the digits MLP cost: lanes of one stack against one fold that trains alone.

Both train on the same folds for the same epochs, in one thread, and take turns; medians count.

Run it from the checkout: ``python benchmarks/folds.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from hpo.spec.space.params import Params
from hpo.spec.study_spec import ValidationSpec
from hpo.tasks.digits import DigitsMLP
from hpo.train.engine import Engine, Lane
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.fold_engine import with_parts
from hpo.train.loop.solo import SoloEngine

# Depth, width, batch size; the first are the task's defaults.
POINTS = ((2, 64, 32), (1, 32, 32), (2, 64, 128), (3, 32, 256), (4, 128, 64))
METRIC, N_FOLDS, N_EPOCHS = "val_accuracy", 5, 6


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=int, default=len(POINTS), help="of the space")
    told = parser.parse_args()
    torch.set_num_threads(1)
    title = f"One trial of {N_EPOCHS} epochs, {told.rounds} rounds, milliseconds an epoch"
    table = Table(title=title)
    columns = ("depth, width, batch", "1 fold alone", "5 folds alone", "5 folds fused", "ratio")
    for column in columns:
        table.add_column(column, justify="right")
    for point in POINTS[: told.points]:
        one, alone, fused = (1000 * seconds for seconds in measure(*point, told.rounds))
        cells = [f"{value:.1f}" for value in (one, alone, fused)]
        table.add_row(", ".join(map(str, point)), *cells, f"{fused / one:.2f}")
    Console().print(table)


def measure(depth: int, width: int, batch_size: int, n_rounds: int) -> tuple[float, float, float]:
    """Returns seconds an epoch of one fold alone, five alone, and five as lanes of a stack."""
    task, spec = DigitsMLP(), ValidationSpec(folds=N_FOLDS)
    folds = task.data().folds(spec)
    values = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "batch_size": batch_size}
    params = Params({**values, "depth": depth, "width": width})
    cpu = torch.device("cpu")

    def lone() -> Engine:
        return SoloEngine(task, folds[0], METRIC, "maximize")

    def in_turn() -> Engine:
        inner = SoloEngine(task, folds, METRIC, "maximize")
        return with_parts(inner, spec, (METRIC,), "maximize")

    def stacked() -> Engine:
        inner = FusedEngine(task, folds, METRIC, "maximize", sizes=StackSizes(cpu, fixed=N_FOLDS))
        return with_parts(inner, spec, (METRIC,), "maximize")

    found: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for _ in range(n_rounds):
        for i, make in enumerate((lone, in_turn, stacked)):
            found[i].append(seconds_per_epoch(make(), params))
    one, alone, fused = (statistics.median(each) for each in found.values())
    return one, alone, fused


def seconds_per_epoch(engine: Engine, params: Params) -> float:
    """Trains a trial, and leaves its first epoch out, in which kernels are chosen."""
    assert engine.add(Lane(0, params, seed=0, epoch=0, epoch_stop=N_EPOCHS + 1)) is None
    engine.advance()
    began_at = time.perf_counter()
    for _ in range(N_EPOCHS):
        engine.advance()
    return (time.perf_counter() - began_at) / N_EPOCHS


if __name__ == "__main__":
    main()
