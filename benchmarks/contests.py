"""What the benchmarks of fused training share: searches, engines and matrix products, timed."""

from __future__ import annotations

import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.engine import Engine, Lane
from hpo.train.epoch_scores import Score
from hpo.train.fused.admission.admission import Admission
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.admission.batch_sharing import batch_sharing_of
from hpo.train.fused.stack.folds import Folds
from hpo.train.fused.stack.stack import Stack
from hpo.train.recipe.precision import products
from hpo.train.task import Task

ROOT = Path(__file__).resolve().parent
_PATHS = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(_PATHS),
}
METRIC = ("val_accuracy", "maximize")


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        wall_s: From the first start to the last end.
        cpu_s: Of all its processes.
        n_trials: That ended.
        n_epochs: That were trained, as far as they were reported.
        best: Best validation accuracy.
    """

    wall_s: float
    cpu_s: float
    n_trials: int
    n_epochs: int
    best: float


def timed(commands: Sequence[Sequence[str]], database: Path) -> Run:
    """Starts commands together and waits for all."""
    before, began_at = _cpu_s(), time.perf_counter()
    processes = [
        subprocess.Popen(
            c, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for c in commands
    ]
    said = [process.communicate()[1] for process in processes]
    wall_s = time.perf_counter() - began_at
    for command, process, error in zip(commands, processes, said, strict=True):
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{error}")
    with sqlite3.connect(database) as connection:
        ended = "SELECT COUNT(*) FROM trials WHERE state NOT IN ('RUNNING', 'WAITING')"
        (n_trials,) = connection.execute(ended).fetchone()
        reports = "SELECT COUNT(*) FROM trial_intermediate_values"
        (n_epochs,) = connection.execute(reports).fetchone()
        (best,) = connection.execute("SELECT MAX(value) FROM trial_values").fetchone()
    connection.close()
    return Run(wall_s, _cpu_s() - before, n_trials, n_epochs, best or 0.0)


def shares(n_trials: int, n_processes: int) -> list[int]:
    """Returns how many trials each process takes; those that would take none are left out."""
    parts = [n_trials // n_processes + (i < n_trials % n_processes) for i in range(n_processes)]
    return [part for part in parts if part]


def hpo_command(file: Path, folder: Path, n_trials: int, n_epochs: int) -> list[str]:
    """Returns the command that runs a study file into ``folder / "hpo.db"``."""
    options = [f"--trials={n_trials}", f"--epochs={n_epochs}"]
    where = ["--storage", f"sqlite:///{folder / 'hpo.db'}", "--artifacts", str(folder / "files")]
    return [str(Path(sys.executable).with_name("hpo")), "run", str(file), *options, *where]


def search_table(title: str, runs: Mapping[str, Sequence[Run]], reference: str) -> Table:
    """Returns a row for each contestant; ratios are of median wall-clock times."""
    walls = {name: statistics.median(run.wall_s for run in found) for name, found in runs.items()}
    table = Table(title=title)
    for column in ("", "wall s", "CPU s", "trials", "epochs", "best", "times as fast"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in runs.items():
        middle = sorted(found, key=lambda run: run.wall_s)[len(found) // 2]
        table.add_row(
            name,
            f"{walls[name]:.1f}",
            f"{statistics.median(run.cpu_s for run in found):.1f}",
            str(middle.n_trials),
            str(middle.n_epochs) if middle.n_epochs else "all",
            f"{statistics.median(run.best for run in found):.4f}",
            f"{walls[reference] / walls[name]:.2f}",
        )
    return table


def epochs(
    engine: Engine, params: Mapping[str, Any], n_lanes: int, n_epochs: int
) -> Iterator[float]:
    """Yields the seconds of epochs of all lanes together, the first two left out."""
    for lane in lanes_of(params, n_lanes):
        assert engine.add(lane) is None
    for _ in range(2):
        engine.advance()
    for _ in range(n_epochs):
        began_at = time.perf_counter()
        assert len(engine.advance()) == n_lanes
        yield time.perf_counter() - began_at


def lanes_of(params: Mapping[str, Any], n_lanes: int) -> list[Lane]:
    """Returns lanes that differ in learning rate and seed."""
    return [
        Lane(key, Params({**params, "learning_rate": 0.01 * (1 + key / n_lanes)}), key, 0, 100)
        for key in range(n_lanes)
    ]


@dataclass(frozen=True)
class Limit:
    """A step of a stack beside the matrix products that it cannot do without.

    Attributes:
        step_s: Seconds of a step.
        products_s: Seconds of its batched matrix products alone.
        flop: Floating point operations of the products.
    """

    step_s: float
    products_s: float
    flop: float

    @property
    def share(self) -> float:
        """Of the step that goes into the products."""
        return self.products_s / self.step_s


def limit_of(task: Task, params: Mapping[str, Any], n_lanes: int, device: str) -> Limit:
    """Times a stack's step, and the products of its linear layers alone.

    Args:
        task: Of a chain of linear layers and others.
        params: Of all lanes, but for the learning rate.
        n_lanes: Lanes of the stack.
        device: As PyTorch names it.
    """
    there = torch.device(device)
    stack = stack_of(task, [params] * n_lanes, device)
    template, epoch = stack.template, stack.next_epoch()
    with products(template.precision, there):
        n_steps = len(epoch.bounds)
        step_s = fastest(lambda: stack.losses(epoch), there) / n_steps
        run, flop = _products(template.model, n_lanes, template.batch_size, there)
        products_s = fastest(run, there, n_times=max(3, n_steps))
    return Limit(step_s, products_s, flop)


def stack_of(task: Task, params: Sequence[Mapping[str, Any]], device: str) -> Stack:
    """Returns a stack of lanes with these params; their batch sizes share it if there are several.

    Args:
        task: The task.
        params: Of each lane, but for the learning rate.
        device: As PyTorch names it.
    """
    there = torch.device(device)
    splits = task.data().splits()
    batch_sharing = batch_sharing_of([values["batch_size"] for values in params], len(splits.train))
    sizes = StackSizes(there, fixed=len(params), batch_sharing=batch_sharing)
    admission = Admission(task, Folds(splits, there), Score(*METRIC), there, sizes, print)
    stack = None
    for key, values in enumerate(params):
        (lane,) = lanes_of(values, 1)
        lane = replace(lane, key=key, seed=key)
        admitted = admission.admit(lane, admission.prepare(lane))
        assert admitted is not None, admission.alone
        stack = stack or Stack(admitted.template)
        stack.join(admitted.lane_state, admitted.tensors)
    assert stack is not None
    return stack


def fastest(run: Callable[[], object], device: torch.device, n_times: int = 5) -> float:
    """Returns the seconds of the fastest of some calls, after two that do not count."""
    seconds = []
    for _ in range(2 + n_times):
        _wait(device)
        began_at = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - began_at)
    return min(seconds[2:])


def _products(
    model: nn.Module, n_lanes: int, n_rows: int, device: torch.device
) -> tuple[Callable[[], object], float]:
    """Returns what multiplies as a step's linear layers do, forward and backward, and its FLOP."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    jobs: list[tuple[Tensor, Tensor]] = []
    flop = 0.0
    for i, layer in enumerate(linear):
        n_in, n_out = layer.in_features, layer.out_features
        x = torch.randn(n_lanes, n_rows, n_in, device=device)
        d = torch.randn(n_lanes, n_rows, n_out, device=device)
        weight = torch.randn(n_lanes, n_out, n_in, device=device)
        jobs += [(x, weight.transpose(1, 2)), (d.transpose(1, 2), x)]
        # Nobody asks for the gradient of the data.
        jobs += [(d, weight)] if i else []
        flop += 2.0 * n_lanes * n_rows * n_in * n_out * (3 if i else 2)

    def multiply() -> Tensor:
        return torch.stack([torch.bmm(a, b).view(-1)[0] for a, b in jobs])

    def alone() -> object:
        return [torch.bmm(a, b) for a, b in jobs]

    if device.type != "cuda":
        return alone, flop
    # Replayed, as the step is.
    from hpo.train.fused.stack.cuda_graphs import CudaGraph

    graph = CudaGraph(device)
    graph.warm_up(multiply)
    kept = graph.record(multiply)
    return lambda: (graph.replay(), kept), flop


def limit_table(rows: Mapping[str, Limit]) -> Table:
    """Returns a row for each stack."""
    table = Table(title="A step of a stack, and the matrix products of its linear layers alone")
    for column in ("", "step ms", "products ms", "share", "TFLOP/s of the step"):
        table.add_column(column, justify="left" if not column else "right")
    for name, limit in rows.items():
        table.add_row(
            name,
            f"{1e3 * limit.step_s:.3f}",
            f"{1e3 * limit.products_s:.3f}",
            f"{limit.share:.2f}",
            f"{limit.flop / limit.step_s / 1e12:.3f}",
        )
    return table


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
