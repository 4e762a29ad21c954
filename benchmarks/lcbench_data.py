"""The LCBench surrogate of YAHPO Gym: 34 tasks, 7 hyperparameters, 52 epochs.

Nothing is trained: a whole learning curve is one call of an ONNX model.

Source: Zimmer, Lindauer, Hutter, "Auto-PyTorch Tabular", 2021 (LCBench); Pfisterer et al., "YAHPO
Gym", AutoML 2022, repository slds-lmu/yahpo_data, folder lcbench, Apache-2.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpo.spec.space.search_space import Float, Int, SearchSpace

EPOCHS = 52
_ACCURACY = 1
SPACE = SearchSpace(
    {
        "batch_size": Int(16, 512, log=True),
        "learning_rate": Float(1e-4, 0.1, log=True),
        "momentum": Float(0.1, 0.99),
        "weight_decay": Float(1e-5, 0.1),
        "num_layers": Int(1, 5),
        "max_units": Int(64, 1024, log=True),
        "max_dropout": Float(0.0, 1.0),
    }
)


@dataclass(frozen=True)
class Known:
    """What is known of a task.

    Attributes:
        best: The best validation accuracy that anybody has found, in percent.
        best_params: Its params.
        median: Median over random full trainings of the best accuracy at any epoch.
    """

    best: float
    best_params: Mapping[str, Any]
    median: float

    def regret(self, value: float) -> float:
        """Returns how far a value is from the best: 0 the best, 1 the median training."""
        return (self.best - value) / (self.best - self.median)


class Surrogate:
    """Learning curves by params and task.

    Args:
        folder: With model.onnx, encoding.json and config_space.json as YAHPO Gym has them, and
            best.json: for each task its ``best``, ``best_config`` and ``median``.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = str(folder / "model.onnx")
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        space = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        by_name = {one["name"]: one for one in space}
        self.tasks: list[str] = sorted(by_name["OpenML_task_id"]["choices"], key=int)
        for name, parameter in SPACE.parameters.items():
            assert isinstance(parameter, Float | Int)
            there = by_name[name]
            assert np.isclose(there["lower"], parameter.low), name
            assert np.isclose(there["upper"], parameter.high), name
            assert there["log"] == parameter.log, name
        best = json.loads((folder / "best.json").read_text())
        self.known = {
            task: Known(b["best"], b["best_config"], b["median"]) for task, b in best.items()
        }

    @property
    def development(self) -> list[str]:
        """The tasks on which methods may be chosen: every third one."""
        return self.tasks[::3]

    @property
    def held_out(self) -> list[str]:
        """The tasks for the final judgement only."""
        return [task for task in self.tasks if task not in self.development]

    def curve(
        self, point: Mapping[str, Any], task: str
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Returns validation accuracy, in percent, and cost of each epoch: both [52].

        Every epoch costs one.
        """
        return self.curves([point], task)[0], np.ones(EPOCHS)

    def curves(self, points: Sequence[Mapping[str, Any]], task: str) -> npt.NDArray[np.float64]:
        """Returns whole curves: validation accuracy in percent after each epoch, [N, 52]."""
        rows = np.array([[float(point[name]) for name in SPACE] for point in points])
        epochs = np.tile(np.arange(1, EPOCHS + 1), len(rows))[:, None]
        inputs = {
            "x_cont": np.hstack([epochs, np.repeat(rows, EPOCHS, 0)]).astype(np.float32),
            "x_cat": np.full((len(epochs), 1), self._codes[task], np.int32),
        }
        found = self._session.run(None, inputs)[0].reshape(len(rows), EPOCHS, -1)
        return np.asarray(found[:, :, _ACCURACY], dtype=np.float64)
