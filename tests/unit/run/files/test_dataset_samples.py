"""Predictions of a model that was trained on a data set."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pandas import DataFrame
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import hpo
from hpo.errors import SpecError, TaskError
from hpo.run.files.model_metadata import ModelMetadata
from hpo.run.files.prediction import TrainedModel, load_model
from hpo.store.studies.study_records import StudyRecord
from hpo.train.loop import checkpoint
from hpo.train.loop.checkpoint import BestWeights

AT = datetime(2026, 1, 1)
PIXELS = torch.arange(48, dtype=torch.uint8).view(12, 1, 2, 2)
CLASSES = torch.arange(12) % 2


class Brightness(hpo.Task):
    """A model that tells bright from dark pixels without having been trained."""

    def data(self) -> hpo.Data:
        return hpo.Data.datasets(TensorDataset(PIXELS, CLASSES), classes=["dark", "bright"])

    def model(self, params: hpo.Params) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


class Unreadable(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        raise OSError("truncated file")


@pytest.fixture
def model(tmp_path: Path) -> TrainedModel:
    task, path = Brightness(), tmp_path / "model.pt"
    spec = hpo.StudySpec(name="s", task="own.py:Brightness", budget={"trials": 1, "epochs": 1})
    record = StudyRecord(1, "s", spec, "", "active", None, spec.budget, None, AT, AT, None)
    data = task.data()
    about = ModelMetadata(record, task, data, data.folds(spec.validation)).of_trial(3)
    weights = {"1.weight": torch.tensor([[-1.0] * 4, [1.0] * 4]), "1.bias": torch.tensor([0.3, 0])}
    checkpoint.export(BestWeights(1, {}, weights), {"learning_rate": 0.1}, path, about)
    return load_model(path, task=task)


def expected() -> Tensor:
    pixels = PIXELS.view(12, 4).float() / 255
    logits = torch.stack([0.3 - pixels.sum(1), pixels.sum(1)], dim=1)
    return logits.softmax(1)


@pytest.mark.parametrize(
    "samples",
    [
        PIXELS,
        PIXELS.numpy(),
        TensorDataset(PIXELS, CLASSES),
        DataLoader(TensorDataset(PIXELS, CLASSES), batch_size=5),
    ],
    ids=["tensor", "array", "data set", "loader"],
)
def test_arrays_and_data_sets_are_predicted_as_in_training(
    model: TrainedModel, samples: Any
) -> None:
    found = model.predict(samples)
    assert list(found.columns) == ["dark", "bright"]
    assert np.allclose(found.to_numpy(), expected().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (DataFrame({"a": [1.0]}), "an array of its inputs or a data set; found DataFrame"),
        (PIXELS[:, :, :1], r"must be of shape \[1, 2, 2\]; found \[1, 1, 2\]"),
        (DataLoader(TensorDataset(PIXELS, CLASSES), shuffle=True), "the loader shuffles its items"),
        ([*PIXELS], "a data set; found list"),
        (iter(PIXELS), "an array or a map-style data set; found tuple_iterator"),
    ],
)
def test_samples_of_another_form_are_refused(
    model: TrainedModel, samples: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        model.predict(samples)


def test_an_item_that_cannot_be_read_is_the_data_sets_fault(model: TrainedModel) -> None:
    with pytest.raises(TaskError, match="the data set raises OSError: truncated file"):
        model.predict(Unreadable())
