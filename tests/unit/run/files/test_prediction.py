"""Files of models: what they hold, what is refused, and preprocessing that no file can hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import FunctionTransformer
from torch import nn

import hpo
from hpo.errors import SpecError, TaskError
from hpo.run.files.model_metadata import ModelMetadata
from hpo.run.files.prediction import load_model
from hpo.spec.space.params import Params
from hpo.store.studies.study_records import StudyRecord
from hpo.train.loop import checkpoint
from hpo.train.loop.checkpoint import BestWeights

X = np.random.RandomState(0).normal(5, 2, size=(40, 3))
Y = 1e9 + X.sum(1)
AT = datetime(2026, 1, 1)


class Line(hpo.Task):
    """Learns nothing; its preprocessing is what is looked at."""

    def __init__(self, *, preprocess: Any = None, x: Any = X) -> None:
        self.preprocess, self.x = preprocess, x

    def data(self) -> hpo.Data:
        return hpo.Data.split(self.x, Y[: len(self.x)], preprocess=self.preprocess)

    def model(self, params: Params) -> nn.Module:
        return nn.Linear(3, 1)


def exported(task: hpo.Task, path: Path, **changes: Any) -> Path:
    spec = hpo.StudySpec(name="s", task="own.py:Line", budget={"trials": 1, "epochs": 1})
    budget = spec.budget
    record = StudyRecord(1, "s", spec, "", "active", None, budget, None, AT, AT, None)
    data = task.data()
    about = ModelMetadata(record, task, data, data.folds(spec.validation)).of_trial(3)
    torch.manual_seed(0)
    best = BestWeights(1, {"val_r2": 0.5}, nn.Linear(3, 1).state_dict())
    checkpoint.export(best, {"learning_rate": 0.1}, path, {**about, **changes})
    return path


def test_the_file_predicts_without_the_data(tmp_path: Path) -> None:
    from hpo.tasks.tables.standard_units import StandardUnits

    path = exported(Line(preprocess=StandardUnits()), tmp_path / "model.pt")

    class Gone(Line):
        def data(self) -> hpo.Data:
            raise AssertionError("nobody asks for the data")

    found = load_model(path, task=Gone()).predict(X)[0]
    assert found.dtype == np.float64
    assert 1e9 < found.mean() < 1e9 + 40
    assert found.nunique() == len(X)
    # Whole numbers that NumPy has as such are quantities here, as they were in training.
    rows = torch.from_numpy(X.round().astype(np.int64))
    assert load_model(path, task=Gone()).predict(rows).shape == (40, 1)
    with pytest.raises(SpecError, match="2 features"):
        load_model(path, task=Gone()).predict(X[:, :2])


def test_preprocessing_that_no_file_can_hold_is_fitted_again_to_the_same_data(
    tmp_path: Path,
) -> None:
    code: Callable[[Any], Any] = lambda x: x / 10  # noqa: E731
    path = exported(Line(preprocess=FunctionTransformer(code)), tmp_path / "model.pt")
    same = load_model(path, task=Line(preprocess=FunctionTransformer(code)))
    assert same.predict(X).shape == (40, 1)
    other = load_model(path, task=Line(preprocess=FunctionTransformer(code), x=X[:-1]))
    with pytest.raises(TaskError, match=r"not what the model was trained on.*builtins.function"):
        other.predict(X)


def test_samples_of_another_shape_and_weights_of_another_model(tmp_path: Path) -> None:
    path = exported(Line(), tmp_path / "model.pt")
    with pytest.raises(SpecError, match=r"must be of shape \[3\]; found \[2\]"):
        load_model(path, task=Line()).predict(X[:, :2])

    class Wider(Line):
        def model(self, params: Params) -> nn.Module:
            return nn.Linear(3, 2)

    with pytest.raises(TaskError, match=r"not of the model that own.py:Line builds: size mismatch"):
        load_model(path, task=Wider()).predict(X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "hpo-model-9"}, "another version of hpo, as 'hpo-model-9'"),
        ({"data": {"kind": "regression"}}, "is damaged: it lacks"),
        ({"preprocessing": None}, "is damaged: it lacks"),
        ({"optimizer": {}}, "is the checkpoint of a trial"),
    ],
)
def test_other_files_are_told_in_a_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = exported(Line(), tmp_path / "model.pt", **changes)
    with pytest.raises(TaskError, match=message):
        load_model(path, task=Line())


def test_files_of_something_else(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "else.pt")
    (tmp_path / "text.pt").write_text("no model")
    for name, message in (("else", "no model of hpo"), ("text", "damaged"), ("none", "no file")):
        with pytest.raises(TaskError, match=message):
            load_model(tmp_path / f"{name}.pt")
    path = exported(Line(), tmp_path / "model.pt")
    older = {k: v for k, v in torch.load(path).items() if k in ("state_dict", "params")}
    torch.save(older, path)
    with pytest.raises(TaskError, match="older version of hpo and holds weights only"):
        load_model(path)
