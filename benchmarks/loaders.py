"""What an epoch of a trial costs on a folder of images, against a plain loop with a DataLoader.

Both train one small network, read the same files with as many processes, and validate after each
epoch. They take turns; the ratios of each turn count, by their median. ``loaders_fused.py`` does
the same for a stack.

Run it from the checkout: ``python benchmarks/loaders.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loaders_fused import BATCH_SIZE, Task, measured
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


def main() -> None:
    """Runs the benchmark and prints its figures."""
    found = measured(__doc__.splitlines()[0], solo_epochs)
    table = Table(title=found.title)
    for column in ("", "seconds", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("plain loop", f"{found.plain:.2f}", "1.00")
    table.add_row("trial", f"{found.ours:.2f}", f"{found.ratio:.2f}")
    Console().print(table)
    Console().print(
        f"memory after each round, in MiB: {', '.join(f'{m:.0f}' for m in found.memory)}"
    )


if __name__ == "__main__":
    main()
