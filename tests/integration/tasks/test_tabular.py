"""A table with missing values and text, from the file to a trained model, without Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import datasets

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.tasks.code.resolve import resolve
from hpo.train.checks.task_preview import one_batch, read_parameters
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine

EPOCHS = 27


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def holed(frame: pd.DataFrame, columns: list[str], share: float = 0.1) -> pd.DataFrame:
    """Returns a table with values missing here and there."""
    random = np.random.RandomState(0)
    frame = frame.copy()
    for name in columns:
        frame[name] = frame[name].where(random.uniform(size=len(frame)) >= share)
    return frame


def wine() -> pd.DataFrame:
    loaded = datasets.load_wine(as_frame=True)
    frame = loaded.frame.drop(columns="target")
    frame["color"] = pd.cut(frame.pop("color_intensity"), [0, 3, 5, 99], labels=["x", "y", "z"])
    frame["sort"] = [f"sort {target}" for target in loaded.target]
    frame.insert(0, "bottle", range(1, len(frame) + 1))
    return holed(frame, ["alcohol", "ash", "proline", "color"])


def diabetes() -> pd.DataFrame:
    frame = datasets.load_diabetes(as_frame=True, scaled=False).frame
    frame["sex"] = frame["sex"].map({1.0: "f", 2.0: "m"})
    return holed(frame, ["bp", "sex", "s1"], share=0.05)


def best_of(task: Any, points: list[dict[str, Any]]) -> dict[str, float]:
    """Trains some points of the space and returns the metrics of the best one."""
    engine = SoloEngine(task, task.data().splits(), task.metric, "maximize")
    found: list[dict[str, float]] = []
    for key, params in enumerate(points):
        assert engine.add(Lane(key, Params(params), seed=key, epoch=0, epoch_stop=EPOCHS)) is None
        for _ in range(EPOCHS):
            (report,) = engine.advance()
            assert report.failure is None
        found.append(engine.best(key)[1] | engine.test(key))
        engine.remove(key)
    return max(found, key=lambda metrics: metrics[task.metric])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_classes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wine.{suffix}"
    if suffix == "parquet":
        wine().to_parquet(path, index=False)
    else:
        wine().to_csv(path, sep="," if suffix == "csv" else "\t", index=False)
    task = resolve("tabular", {"data": path.name, "target": "sort"}, tmp_path)
    assert task.metric == "val_accuracy"
    metrics = best_of(task, [{"optimizer": "adamw", "learning_rate": 0.003, "dropout": 0.1}])
    assert metrics["val_accuracy"] > 0.9
    # 36 rows: logistic regression makes 3 mistakes on them.
    assert metrics["test_accuracy"] > 0.85
    assert metrics["test_auroc"] > 0.95


def test_two_classes(tmp_path: Path) -> None:
    loaded = datasets.load_breast_cancer(as_frame=True)
    frame = holed(loaded.frame, list(loaded.frame.columns[:5]))
    frame.to_csv(tmp_path / "cells.csv", index=False)
    task = resolve("tabular", {"data": "cells.csv", "target": "target"}, tmp_path)
    assert task.metric == "val_auroc"
    metrics = best_of(task, [{"learning_rate": 0.05, "momentum": 0.9}])
    assert metrics["val_auroc"] > 0.98
    assert metrics["test_auroc"] > 0.98


def test_numbers(tmp_path: Path) -> None:
    diabetes().to_csv(tmp_path / "patients.csv", sep=";", decimal=",", index=False)
    task = resolve("tabular", {"data": "patients.csv", "target": "target"}, tmp_path)
    assert task.metric == "val_r2"
    points = [
        {"learning_rate": rate, "momentum": 0.5, "depth": depth, "normalization": "batch"}
        for rate in (0.003, 0.01, 0.03)
        for depth in (1, 2)
    ]
    metrics = best_of(task, points)
    # Ridge regression on the same rows has 0.29 on validation and 0.44 on test data.
    assert metrics["val_r2"] > 0.35
    assert metrics["test_r2"] > 0.3
    assert 30 < metrics["val_rmse"] < 70


def test_every_parameter_of_the_default_space_is_read(tmp_path: Path) -> None:
    wine().to_csv(tmp_path / "wine.csv", index=False)
    task = resolve("tabular", {"data": "wine.csv", "target": "sort"}, tmp_path)
    splits = task.data().splits()
    assert read_parameters(task, SearchSpace(task.space), splits).problems == ()
    assert one_batch(task, splits, Params({"depth": 1, "width": 16})).n_parameters > 0
