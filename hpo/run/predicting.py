"""What the models of a trial make of samples that the study has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pandas import DataFrame
from torch import Tensor

from hpo.errors import TaskError
from hpo.spec.params import Params
from hpo.spec.study import ValidationSpec
from hpo.train import checkpoint
from hpo.train.boundary import user_code
from hpo.train.data import Data
from hpo.train.ensemble import mean_outputs
from hpo.train.evaluation import predict
from hpo.train.task import Task


def predictions(task: Task, validation: ValidationSpec, model: Path, x: Any) -> DataFrame:
    """Returns predictions of the models of a trial together, as they were tested.

    Args:
        task: The study's.
        validation: The study's: each fold's models have the preprocessing of its training rows.
        model: The exported file.
        x: Samples, as ``Task.samples`` takes them.

    Returns:
        A row a sample. Of classes their probabilities, a column each; of a regression its numbers
        in the targets' units. The outputs as they are where the task has a loss of its own.

    Raises:
        TaskError: The task's code raises, or the file is damaged.
    """
    saved = checkpoint.read(model)
    states = saved.get("parts", [saved["state_dict"]])
    params = Params(saved["params"])
    with user_code("the task"):
        task.setup()
        data = task.data()
        inputs = data.features(task.samples(x), validation)
        # The parts are those of all folds, seed by seed.
        outputs = [
            _outputs(task, params, state, inputs[i % len(inputs)]) for i, state in enumerate(states)
        ]
    rows = _readable(task, data, mean_outputs(outputs))
    names = data.classes if len(data.classes) == rows.shape[1] else None
    return DataFrame(
        rows.numpy(), index=x.index if isinstance(x, DataFrame) else None, columns=names
    )


def _outputs(task: Task, params: Params, state: dict[str, Any], x: Tensor) -> Tensor:
    model = task.model(params)
    model.load_state_dict(state)
    model.eval()
    with torch.inference_mode():
        return predict(model, x, params.get("precision", "float32"))


def _readable(task: Task, data: Data, outputs: Tensor) -> Tensor:
    """Returns outputs [N, ...] as rows of what they mean, [N, C]."""
    rows = outputs.reshape(len(outputs), -1)
    if task.has_own("loss"):
        return rows
    if data.kind == "regression":
        return data.plan.in_units(rows.squeeze(1)).reshape(rows.shape)
    if rows.shape[1] == 1:
        return torch.cat([(-rows).sigmoid(), rows.sigmoid()], dim=1)
    if rows.shape[1] != data.n_classes:
        raise TaskError(f"the model gives {rows.shape[1]} outputs for {data.n_classes} classes")
    return rows.softmax(dim=1)
