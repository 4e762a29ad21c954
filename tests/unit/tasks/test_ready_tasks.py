"""The tasks with data sets of their own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as theirs

from hpo.errors import SpecError, TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.study_spec import default_direction
from hpo.tasks import TASKS
from hpo.tasks.code.resolve import resolve
from hpo.tasks.digits import DigitsMLP
from hpo.tasks.models import TwoLogits
from hpo.tasks.ready_tasks import ReadyMade
from hpo.train.checks.task_preview import metric_names, read_parameters
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine
from hpo.train.objective.metrics import METRICS, metrics_of
from tests.kits import small_data

READY = [name for name in TASKS if name not in ("tabular", "images", "digits-mlp")]


@pytest.fixture(autouse=True)
def _small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_data.put(tmp_path, monkeypatch)
    torch.set_num_threads(1)


def trained(task: ReadyMade, params: dict[str, Any], epochs: int) -> SoloEngine:
    assert task.metric is not None
    engine = SoloEngine(task, task.data().splits(), task.metric, str(task.direction))
    assert engine.add(Lane(0, Params(params), seed=0, epoch=0, epoch_stop=epochs)) is None
    for _ in range(epochs):
        (report,) = engine.advance()
        assert report.failure is None
    return engine


@pytest.mark.parametrize("name", READY)
def test_a_task_is_what_it_says(name: str) -> None:
    task = resolve(name)
    assert isinstance(task, ReadyMade)
    splits = task.data().splits()
    assert splits.in_shape == task.in_shape
    assert task.n_outputs == (splits.n_classes or 1)
    assert task.metric in metric_names(task, splits)
    assert read_parameters(task, SearchSpace(task.space), splits).problems == ()


def test_models_of_two_classes_have_a_single_output() -> None:
    for name in ("breast-cancer", "two-classes"):
        model = resolve(name).model(Params({"model": "mlp"}))
        assert isinstance(model, torch.nn.Sequential)
        assert isinstance(model[-1], TwoLogits)
        body = model[0]
        assert isinstance(body, torch.nn.Sequential)
        assert body[-1].out_features == 1


def test_an_unfit_model_is_refused() -> None:
    with pytest.raises(TaskError, match="a cnn takes images"):
        resolve("breast-cancer").model(Params({"model": "cnn"}))
    with pytest.raises(TaskError, match="did you mean gru"):
        resolve("digits-rows").model(Params({"model": "gruu"}))


def test_small_data_reports_every_metric() -> None:
    task = resolve("wine")
    reported = metric_names(task, task.data().splits())
    assert {f"val_{name}" for name in metrics_of("classification")} <= set(reported)


@pytest.mark.parametrize("name", ["diabetes", "california-housing"])
def test_a_regression_is_measured_in_the_units_of_its_data(name: str) -> None:
    task: Any = resolve(name)
    data = task.data()
    splits = data.splits()
    assert splits.train.y.mean().abs() < 1e-5
    assert float(splits.train.y.std()) == pytest.approx(1, abs=0.01)
    y = data.plan.targets.y.numpy()
    # The rows of the split, found again by their targets.
    units = splits.val.y.numpy() * task._units.target_scale + task._units.target_mean
    assert all(np.isclose(y, value, rtol=1e-4).any() for value in units)
    outputs = torch.zeros(len(units), 1)
    found = {key: float(value) for key, value in task.metrics(outputs, splits.val.y).items()}
    guess = np.full_like(units, task._units.target_mean)
    mse = theirs.mean_squared_error(units, guess)
    expected = {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": theirs.mean_absolute_error(units, guess),
        "r2": theirs.r2_score(units, guess),
    }
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_linear_regression_on_five_points() -> None:
    """y = 2x, as exactly as gradient descent gets there."""
    task = resolve("linear-regression", {"n": 5, "intercept": 0.0, "noise": 0.0})
    assert isinstance(task, ReadyMade)
    engine = trained(task, {"optimizer": "sgd", "learning_rate": 0.2, "batch_size": "full"}, 200)
    assert engine.best(0)[1]["val_mse"] < 1e-8
    assert engine.test(0)["test_mse"] < 1e-8


def test_classes_may_be_imbalanced() -> None:
    splits = resolve("two-classes", {"n": 400, "positive": 0.05}).data().splits()
    assert [int(part.y.sum()) for part in (splits.train, splits.val)] == [12, 4]


def test_any_metric_may_be_the_objective() -> None:
    for name in (name for name, metric in METRICS.items() if metric.kind == "classification"):
        task = resolve("iris")
        direction = default_direction(f"val_{name}")
        engine = SoloEngine(task, task.data().splits(), f"val_{name}", direction)
        assert engine.add(Lane(0, Params({}), seed=0, epoch=0, epoch_stop=1)) is None
        (report,) = engine.advance()
        assert report.failure is None
        assert f"val_{name}" in engine.best(0)[1]


def test_digits_mlp() -> None:
    task = DigitsMLP()
    splits = task.data().splits()
    model = task.model(Params({"depth": 1, "width": 8}).with_defaults(task.defaults))
    assert model(splits.val.x).shape == (len(splits.val), 10)
    assert (task.metric, task.direction) == ("val_accuracy", "maximize")


def test_a_folder_of_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, shade in (("dark", 40), ("light", 200), ("white", 255)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            image.new("L", (20, 30), shade).save(tmp_path / "photos" / name / f"{i}.png")
    task = resolve("images", {"data": "photos", "size": 16, "grayscale": True}, tmp_path)
    assert isinstance(task, ReadyMade)
    assert (task.in_shape, task.n_outputs) == ((1, 16, 16), 3)
    params = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 6}
    assert trained(task, params, 20).best(0)[1]["val_accuracy"] == 1


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"data": "nowhere"}, "data", "no folder of images: "),
        ({"data": "."}, "data", "must hold a folder of images for each class"),
        ({"data": ".", "size": 0}, "size", "must be at least 1; found 0"),
        ({"data": ".", "size": 1_000_000}, "size", "must be at most 4,096; found 1000000"),
        ({"data": ".", "grayscale": "yes"}, "grayscale", 'must be true or false; found "yes"'),
        ({"data": 5}, "data", "must be a path; found 5"),
    ],
)
def test_wrong_options_of_images(
    options: dict[str, Any], key: str, message: str, tmp_path: Path
) -> None:
    pytest.importorskip("PIL.Image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError) as caught:
        resolve("images", options, tmp_path / "empty")
    (problem,) = caught.value.problems
    assert problem.key == f"task_options.{key}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("two-classes", {"n": 3}, "n: must be at least 10; found 3"),
        ("two-classes", {"n": 10**10}, "n: must be at most 1,000,000; found 10000000000"),
        ("two-classes", {"n": "10"}, 'n: must be a whole number; found "10"'),
        ("two-classes", {"n_features": 0}, "n_features: must be at least 1; found 0"),
        ("two-classes", {"positive": 1.5}, "positive: must be above 0 and below 1; found 1.5"),
        ("two-classes", {"noise": math.inf}, "noise: must be a finite number; found inf"),
        ("two-classes", {"seed": -1}, "seed: must be at least 0; found -1"),
        ("linear-regression", {"slope": "a"}, 'slope: must be a number; found "a"'),
        ("linear-regression", {"intercept": True}, "intercept: must be a number; found true"),
        ("linear-regression", {"noise": -1}, "noise: must be at least 0 and at most 1e+06"),
        ("iris", {"n": 1}, "n: unknown; the task takes no options"),
    ],
)
def test_wrong_options_of_made_data(task: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(task, options)
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.message}".startswith(f"task_options.{message}")
