"""Draws the picture of ``docs/search.md``: curves of one search, and regret of several methods.

Run it from the checkout after ``benchmarks/lcbench.py``, whose results it takes:
``python benchmarks/lcbench_picture.py DATA_DIR docs/images/search.png``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lcbench import BUDGET, BUILD
from benchmarks.lcbench_data import EPOCHS, Surrogate
from benchmarks.lcbench_methods import METHODS, Setting
from benchmarks.lcbench_portfolio import explored
from benchmarks.lcbench_simulator import FRACTIONS, Reply, Simulation

TASK = "126025"
SHOWN = {
    "auto": ("#1b6ca8", "-"),
    "auto, no prior": ("#1b6ca8", "--"),
    "optuna: gp": ("#2e8b57", "-"),
    "optuna: cmaes": ("#8a6d3b", "-"),
    "syne tune 0.13: dehb": ("#8e44ad", "-"),
    "optuna: tpe": ("#c0392b", "-"),
    "optuna: tpe + median": ("#e08e79", "-"),
    "optuna: random": ("#888888", "-"),
}


class Watched:
    """A method that keeps the curves of its trials."""

    def __init__(self, method: object) -> None:
        self._method = method
        self.curves: dict[int, list[float]] = defaultdict(list)

    def __getattr__(self, name: str) -> object:
        return getattr(self._method, name)

    def tell(self, trial: int, epoch: int, value: float) -> Reply:
        """Notes the value and passes it on."""
        self.curves[trial].append(value)
        reply: Reply = self._method.tell(trial, epoch, value)  # type: ignore[attr-defined]
        return reply


def draw_curves(axes: Axes, data: Path) -> None:
    """Draws the curves of the first quarter of a search by ``auto`` without prior knowledge."""
    surrogate = Surrogate(data)
    portfolio = explored(surrogate, BUILD).portfolio(without=TASK)
    method = Watched(METHODS["auto, no prior"](Setting(1, portfolio, BUDGET, 4)))
    simulation = Simulation(method, lambda point: surrogate.curve(point, TASK), EPOCHS, 4)  # type: ignore[arg-type]
    simulation.run(BUDGET / 4)
    best = max(method.curves, key=lambda number: max(method.curves[number]))
    for number, values in method.curves.items():
        is_full = len(values) == EPOCHS
        color, width = ("#1b6ca8", 1.0) if is_full else ("#999999", 0.6)
        color, width = ("#c0392b", 2.0) if number == best else (color, width)
        axes.plot(range(1, len(values) + 1), values, color=color, lw=width, alpha=0.9)
        if not is_full:
            axes.plot(len(values), values[-1], ".", color=color, ms=3)
    axes.set(xlabel="epoch", ylabel="validation accuracy, %", xlim=(0, EPOCHS))
    n_full = sum(len(values) == EPOCHS for values in method.curves.values())
    axes.set_title(f"{len(method.curves)} trials of one search; {n_full} were trained to the end")


def draw_regret(axes: Axes) -> None:
    """Draws the mean regret of methods, as ``build/lcbench.jsonl`` has it."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    for line in (BUILD / "lcbench.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["workers"] == 4 and not row["is_stack"]:
            found[row["method"]].append(row["regret"])
    shares = [100 * fraction for fraction in FRACTIONS]
    for name, (color, style) in SHOWN.items():
        means = [statistics.mean(values) for values in zip(*found[name], strict=True)]
        axes.plot(shares, means, style, color=color, marker="o", ms=4, label=name)
    axes.set(xlabel="share of the epochs, %", ylabel="regret", xscale="log", yscale="log")
    axes.set_xticks(shares, [f"{share:.0f}" for share in shares])
    axes.minorticks_off()
    axes.set_title("mean over 12 tasks, and seeds")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the surrogate")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    draw_curves(left, options.data)
    draw_regret(right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.out, dpi=130)


if __name__ == "__main__":
    main()
