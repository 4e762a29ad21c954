"""What an epoch of a stack costs on a folder of images, against a plain loop with a DataLoader.

The stack trains 8 trials, the plain loop one; both read the same files with as many processes, and
both validate after each epoch. They take turns; the ratios of each turn count, by their median.

Run it from the checkout: ``python benchmarks/loaders_fused.py``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import hpo
from hpo.spec.space.params import Params
from hpo.spec.study_spec import ValidationSpec
from hpo.train.engine import Lane
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.fused_engine import FusedEngine

N_CLASSES, SIZE, BATCH_SIZE, N_LANES = 4, 64, 64, 8


class Pictures(Dataset[Any]):
    """JPEG files as tensors of bytes; the name of a file ends with its class."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.targets = [int(file.stem.rpartition("-")[2]) for file in files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        pixels = np.array(Image.open(self.files[i]))
        return torch.from_numpy(pixels).permute(2, 0, 1), self.targets[i]


class Task(hpo.Task):
    """A small convolutional network on the files of a folder."""

    def __init__(self, folder: Path, workers: int) -> None:
        super().__init__()
        self.folder, self.workers = folder, workers

    def data(self) -> hpo.Data:
        """Returns the files of the two sub-folders."""
        return hpo.Data.datasets(
            *(Pictures(sorted((self.folder / name).iterdir())) for name in ("train", "val")),
            workers=self.workers,
            classes=N_CLASSES,
        )

    def model(self, params: Params) -> nn.Module:
        """Builds the network."""
        return network()


def network() -> nn.Module:
    """Returns two convolutions and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, N_CLASSES),
    )


def make_files(folder: Path, name: str, n: int) -> None:
    """Writes random pictures, whose brightness depends on their class."""
    rng = np.random.default_rng(0)
    (folder / name).mkdir()
    for i in range(n):
        pixels = rng.integers(0, 100, (SIZE, SIZE, 3)) + 40 * (i % N_CLASSES)
        Image.fromarray(pixels.astype(np.uint8)).save(
            folder / name / f"{i:05d}-{i % N_CLASSES}.jpg"
        )


def plain_epochs(folder: Path, workers: int) -> Callable[[], None]:
    """Returns what trains and validates one model for an epoch, as people write it."""
    common: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    sets = [Pictures(sorted((folder / name).iterdir())) for name in ("train", "val")]
    train = DataLoader(sets[0], BATCH_SIZE, shuffle=True, **common)
    val = DataLoader(sets[1], 256, **common)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def epoch() -> None:
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            functional.cross_entropy(model(x.float() / 255), y).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            hits = [(model(x.float() / 255).argmax(-1) == y).sum() for x, y in val]
        torch.stack(hits).sum().item()

    return epoch


def stacked_epochs(folder: Path, workers: int) -> Callable[[], None]:
    """Returns what trains and validates a stack for an epoch."""
    task = Task(folder, workers)
    folds = task.data().folds(ValidationSpec())
    sizes = StackSizes(torch.device("cpu"), fixed=N_LANES)
    engine = FusedEngine(task, folds, "val_accuracy", "maximize", sizes=sizes)
    for key in range(N_LANES):
        params = Params({"learning_rate": 0.01 * (key + 1), "batch_size": BATCH_SIZE})
        assert engine.add(Lane(key, params, seed=key, epoch=0, epoch_stop=1000)) is None

    def epoch() -> None:
        assert len(engine.advance()) == N_LANES

    return epoch


def memory() -> float:
    """Returns the memory of this process and its children in MiB."""
    own = psutil.Process()
    return sum(one.memory_info().rss for one in (own, *own.children(recursive=True))) / 2**20


@dataclass(frozen=True)
class Measured:
    """What two loops over the same files take, in turns.

    Attributes:
        plain: Median seconds of an epoch of the plain loop.
        ours: That of the other one.
        ratio: Median of their ratios in each round.
        memory: In MiB, after each round.
        title: Of a table.
    """

    plain: float
    ours: float
    ratio: float
    memory: list[float]
    title: str


def measured(description: str, make: Callable[[Path, int], Callable[[], None]]) -> Measured:
    """Reads the command line, and measures a loop beside the plain one.

    Args:
        description: For ``--help``.
        make: Returns what trains and validates for an epoch, of a folder and a number of processes.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=4000, help="to train on")
    parser.add_argument("--workers", type=int, default=1, help="processes that read files")
    told = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, "train", told.files)
        make_files(folder, "val", told.files // 4)
        epochs = [plain_epochs(folder, told.workers), make(folder, told.workers)]
        found: list[list[float]] = [[], []]
        used = []
        for turn in range(told.rounds + 1):
            for i, epoch in enumerate(epochs):
                began_at = time.perf_counter()
                epoch()
                # The first starts processes and chooses kernels.
                if turn:
                    found[i].append(time.perf_counter() - began_at)
            used.append(memory())
    plain, ours = (statistics.median(each) for each in found)
    ratio = statistics.median(b / a for a, b in zip(*found, strict=True))
    title = f"An epoch of {told.files} files, {told.rounds} rounds"
    return Measured(plain, ours, ratio, used, title)


def main() -> None:
    """Runs the benchmark and prints its figures."""
    found = measured(__doc__.splitlines()[0], stacked_epochs)
    table = Table(title=found.title)
    for column in ("", "models", "seconds", "ratio", "ratio a model"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("plain loop", "1", f"{found.plain:.2f}", "1.00", "1.00")
    shares = f"{found.ratio:.2f}", f"{found.ratio / N_LANES:.2f}"
    table.add_row("stack", str(N_LANES), f"{found.ours:.2f}", *shares)
    Console().print(table)


if __name__ == "__main__":
    main()
