"""Learns the first points that come with the package, from the development tasks of LCBench.

Candidates are random points, and what a long search has found on each task. One after the other
that point is chosen which lowers the mean over tasks of the best regret so far the most.

Run it from the checkout: ``python benchmarks/lcbench_portfolio.py DATA_DIR`` writes
``hpo/search/knowledge/portfolio.toml`` anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tomlkit
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lcbench_data import SPACE, Surrogate
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.candidates import Candidates
from hpo.search.model.portfolio import FILE, Portfolio

KNOWLEDGE = Path(__file__).resolve().parent.parent / "hpo" / "search" / "knowledge"
# As hyperparameters are usually called here, and how else people call them.
NAMES: Final[Mapping[str, Sequence[str]]] = {
    "learning_rate": ["learning_rate", "lr", "base_lr"],
    "batch_size": ["batch_size", "batch", "bs"],
    "momentum": ["momentum"],
    "weight_decay": ["weight_decay", "wd", "l2"],
    "depth": ["depth", "num_layers", "n_layers", "layers"],
    "width": ["width", "max_units", "n_units", "units", "hidden", "hidden_size"],
    "dropout": ["dropout", "max_dropout", "dropout_rate"],
    "optimizer": ["optimizer", "optimiser", "opt"],
}
_USUAL: Final = {other: usual for usual, others in NAMES.items() for other in others}
# LCBench trains by stochastic gradient descent with momentum.
_OPTIMIZERS: Final = ["sgd", "momentum", "nesterov"]
_N_RANDOM, _N_TOPS, _N_CHILDREN, _N_ROUNDS = 2000, 16, 200, 25
_WORST: Final = 2.0
_SEED: Final = 777
SIZE: Final = 8


@dataclass(frozen=True)
class Ground:
    """Candidates, and how they do on each task. N candidates, T tasks.

    Attributes:
        tasks: The tasks.
        points: [N] The candidates.
        regret: [T, N] Regret of a full training at its best epoch.
        found_on: [N] The task that a candidate was found on; empty for a random one.
    """

    tasks: Sequence[str]
    points: Sequence[Mapping[str, Any]]
    regret: npt.NDArray[np.float64]
    found_on: Sequence[str]

    def portfolio(self, size: int = SIZE, without: str = "") -> Portfolio:
        """Returns the points that serve the tasks best together.

        Args:
            size: How many.
            without: A task of which nothing may be known.
        """
        used = [i for i, task in enumerate(self.tasks) if task != without]
        regret = np.minimum(self.regret[used], _WORST)
        regret[:, [task == without != "" for task in self.found_on]] = _WORST
        reached = np.full(len(used), _WORST)
        chosen = []
        for _ in range(size):
            best = int(np.minimum(regret, reached[:, None]).mean(axis=0).argmin())
            chosen.append(best)
            reached = np.minimum(reached, regret[:, best])
        entries = [{"optimizer": _OPTIMIZERS, **_usual(self.points[i])} for i in chosen]
        return Portfolio(f"lcbench-{len(used)}", NAMES, entries)


def explored(surrogate: Surrogate, folder: Path) -> Ground:
    """Returns ``explore``'s answer, kept in a folder, for it takes a minute."""
    path = folder / "lcbench_ground.json"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        ground = explore(surrogate)
        kept = {**asdict(ground), "regret": ground.regret.tolist()}
        path.write_text(json.dumps(kept), encoding="utf-8")
    table = json.loads(path.read_text(encoding="utf-8"))
    return Ground(**{**table, "regret": np.array(table["regret"])})


def explore(surrogate: Surrogate) -> Ground:
    """Gathers candidates on the development tasks and tries each on all of them."""
    encoder, rng = Encoder.of_space(SPACE), np.random.default_rng(_SEED)
    candidates = Candidates(encoder, rng)
    parts = [encoder.snap(rng.random((_N_RANDOM, len(encoder))))]
    found_on = [""] * _N_RANDOM
    for task in track(surrogate.development, "searching", transient=True):
        best = encoder.encode([surrogate.known[task].best_params])
        rows = _climbed(surrogate, task, encoder, candidates, parts[0])
        parts += [rows, best]
        found_on += [task] * (len(rows) + 1)
    points = encoder.decode(np.concatenate(parts))
    regret = np.stack([_regret(surrogate, task, points) for task in surrogate.development])
    return Ground(surrogate.development, points, regret, found_on)


def _climbed(
    surrogate: Surrogate,
    task: str,
    encoder: Encoder,
    candidates: Candidates,
    rows: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Returns the best points of a search that begins with the best of some rows."""
    regret = _regret(surrogate, task, encoder.decode(rows))
    for _ in range(_N_ROUNDS):
        order = np.argsort(regret, kind="stable")[:_N_TOPS]
        rows, regret = rows[order], regret[order]
        children = candidates.near(rows, _N_CHILDREN)
        regret = np.append(regret, _regret(surrogate, task, encoder.decode(children)))
        rows = np.concatenate([rows, children])
    return rows[np.argsort(regret, kind="stable")[:_N_TOPS]]


def _regret(
    surrogate: Surrogate, task: str, points: Sequence[Mapping[str, Any]]
) -> npt.NDArray[np.float64]:
    parts = [points[i : i + 64] for i in range(0, len(points), 64)]
    best = np.concatenate([surrogate.curves(part, task).max(axis=1) for part in parts])
    known = surrogate.known[task]
    return np.asarray((known.best - best) / (known.best - known.median))


def _usual(point: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a point under the usual names, with as many digits as matter."""
    return {
        _USUAL[name]: value if isinstance(value, int) else float(f"{value:.3g}")
        for name, value in point.items()
    }


def write(portfolio: Portfolio, path: Path) -> None:
    """Writes a portfolio file."""
    document = tomlkit.document()
    for line in (
        "First points of a study whose parameters have these names: what has served other tasks.",
        "Learned by benchmarks/lcbench_portfolio.py from the development tasks of LCBench (Zimmer",
        "et al. 2021, in the surrogate of YAHPO Gym, Apache-2.0).",
    ):
        document.add(tomlkit.comment(line))
    document.add("version", portfolio.version)
    document.add("names", {name: list(others) for name, others in portfolio.names.items()})
    points = tomlkit.aot()
    for entry in portfolio.points:
        table = tomlkit.table()
        for key, value in entry.items():
            table.add(key, value)
        points.append(table)
    document.add("points", points)
    path.write_text(tomlkit.dumps(document), encoding="utf-8")


def main() -> None:
    """Learns and writes the portfolio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the surrogate; see lcbench.py")
    options = parser.parse_args()
    ground = explore(Surrogate(options.data))
    write(ground.portfolio(), KNOWLEDGE / FILE)


if __name__ == "__main__":
    main()
