"""The task ``tabular``: what is made of a file, and what is said of wrong options."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics

from hpo.errors import SpecError, TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.study_spec import ValidationSpec
from hpo.tasks.code.resolve import resolve
from hpo.tasks.tables.table_files import say_once
from hpo.tasks.tabular import Tabular
from hpo.train.recipe.hyperparameters import standard_names
from hpo.train.task import Task


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    n = 60
    frame = pd.DataFrame(
        {
            "id": range(n),
            "age": random.randint(18, 80, n).astype(float),
            "town": random.choice(["Aa", "Bb", "Cc"], n),
            "since": pd.date_range("2020-01-01", periods=n, freq="17D"),
            "constant": 1,
            "churned": random.choice(["yes", "no"], n),
            "grade": random.choice(["a", "b", "c"], n),
            "spent": random.normal(1000, 200, n),
        }
    )
    frame.loc[:4, "age"] = np.nan
    frame.loc[3:7, "town"] = np.nan
    frame.loc[58:, "churned"] = np.nan
    path = tmp_path / "churn.csv"
    frame.to_csv(path, index=False)
    return path


def problems(**options: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        resolve("tabular", options)
    return {problem.key: problem.message for problem in caught.value.problems}


def params(task: Task) -> Params:
    return Params({"depth": 1, "width": 4}).with_defaults(task.defaults)


@pytest.mark.parametrize(
    ("target", "metric", "n_out"),
    [("churned", "val_auroc", 2), ("grade", "val_accuracy", 3), ("spent", "val_r2", 1)],
)
def test_targets(table: Path, target: str, metric: str, n_out: int) -> None:
    task = Tabular(data=str(table), target=target)
    splits = task.data().splits()
    assert task.metric == metric
    with torch.inference_mode():
        outputs = task.model(params(task))(splits.val.x)
    assert outputs.shape == (len(splits.val), n_out)
    assert torch.isfinite(task.loss(outputs, splits.val.y))
    measured = task.metrics(outputs, splits.val.y)
    assert metric.removeprefix("val_") in measured
    assert all(np.isfinite(float(value)) for value in measured.values())


def test_description(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    say_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="hpo"):
        task = Tabular(data=str(table), target="churned", drop=["grade"])
    assert task.describe() == {
        "kind": "classification",
        "n_rows": 58,
        "target": "churned",
        "classes": ["no", "yes"],
        "numeric": ["age", "since (day)", "since (month)", "since (weekday)", "spent"],
        "categorical": ["town"],
        "dropped": {
            "id": "is an id",
            "constant": "is the same in every row",
            "grade": "is excluded by the study",
        },
    }
    assert "left out 2 of 60 rows without a churned" in caplog.text
    assert "left out column id: is an id" in caplog.text


def test_what_is_left_out_is_told(table: Path) -> None:
    task = Tabular(data=str(table), target="churned", drop=["grade"])
    assert task.notices == (
        "left out 2 of 60 rows without a churned",
        "left out 2 of 6 columns: id (is an id), constant (is the same in every row)",
    )


def target_of(folder: Path, values: list[Any], **options: Any) -> Tabular:
    frame = pd.DataFrame({"x": np.random.RandomState(0).normal(size=len(values)), "y": values})
    frame.to_csv(folder / "t.csv", index=False)
    return Tabular(data=str(folder / "t.csv"), target="y", **options)


def test_a_class_called_none_is_a_class(tmp_path: Path) -> None:
    values = ["None", "Apnea", "Insomnia", ""] * 12
    task = target_of(tmp_path, values)
    assert task.describe()["classes"] == ["Apnea", "Insomnia", "None"]
    assert task.notices == (
        "left out 12 of 48 rows without a y",
        "12 rows of y hold 'None', which is a class; "
        'missing = ["None"] in [task_options] leaves them out',
    )
    task = target_of(tmp_path, values, missing=["None"])
    assert task.describe()["classes"] == ["Apnea", "Insomnia"]
    assert task.notices[0] == (
        "left out 24 of 48 rows without a y: 12 are empty, 12 hold 'None' "
        "(task_options.missing says what is missing)"
    )
    assert target_of(tmp_path, values, missing=[]).describe()["n_rows"] == 36
    # Numbers that are few are classes, and so is the word beside them.
    assert len(target_of(tmp_path, ["0", "1", "null"] * 20).describe()["classes"]) == 3


def test_words_among_the_numbers_of_a_regression_are_missing(tmp_path: Path) -> None:
    values = [*map(str, range(40)), "NA", "?"]
    task = target_of(tmp_path, values)
    assert (task.describe()["kind"], task.describe()["n_rows"]) == ("regression", 40)
    assert "2 of 42 rows without a y: 1 hold 'NA', 1 hold '?'" in task.notices[0]
    assert target_of(tmp_path, ["$1,200", "$900", "$35.5"] * 20).describe()["n_rows"] == 60


@pytest.mark.parametrize(
    "name",
    [
        *("self", "index", "columns", "T", "class", "x[0]", "kwargs", "model_fields", "名前"),
        *("func", "axis", "None", "(missing)", "__class__", "a.b", "numeric", "y ", "n" * 400),
    ],
)
def test_columns_of_any_name(tmp_path: Path, name: str) -> None:
    random = np.random.RandomState(0)
    frame = pd.DataFrame({name: random.choice(["a", "b"], 60), f"{name} 2": random.normal(size=60)})
    frame["target"] = (frame[name] == "a").astype(int)
    frame.to_csv(tmp_path / "t.csv", index=False)
    task = Tabular(data=str(tmp_path / "t.csv"), target="target")
    splits = task.data().splits()
    assert splits.n_features == 3
    assert torch.isfinite(task.model(params(task))(splits.val.x)).all()
    assert task.samples(frame.drop(columns="target")).shape == (60, 2)


def test_a_saved_index_is_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.random.RandomState(0).normal(size=60), "y": [0, 1, 2] * 20})
    frame.sort_values("y").reset_index(drop=True).sample(frac=1, random_state=0).to_csv(
        tmp_path / "t.csv"
    )
    task = Tabular(data=str(tmp_path / "t.csv"), target="y")
    assert task.describe()["dropped"] == {"Unnamed: 0": "is a saved row number"}
    # In order, but the rows without a target have left gaps.
    frame["y"] = frame["y"].astype(float).where(frame.index != 30)
    frame.to_csv(tmp_path / "t.csv")
    task = Tabular(data=str(tmp_path / "t.csv"), target="y")
    assert task.describe()["dropped"] == {"Unnamed: 0": "counts the rows"}


def test_model_before_splits_and_other_splits(table: Path) -> None:
    task = Tabular(data=str(table), target="spent")
    assert task.model(params(task))[0].in_features > 0  # type: ignore[index]
    splits = task.data().splits(ValidationSpec(seed=3))
    assert task.model(params(task))[0].in_features == splits.n_features  # type: ignore[index]


def test_metrics_of_a_regression_are_in_the_targets_units(table: Path) -> None:
    task = Tabular(data=str(table), target="spent")
    splits = task.data().splits()
    assert float(splits.train.y.mean()) == pytest.approx(0, abs=1e-5)
    assert float(splits.train.y.std(correction=0)) == pytest.approx(1, abs=1e-5)
    spent = torch.tensor(pd.read_csv(table)["spent"].to_numpy())
    mean, scale = task._encoder.target_mean, task._encoder.target_scale
    y = splits.val.y.double() * scale + mean
    assert all((spent - value).abs().min() < 0.01 for value in y)
    guess = splits.val.y + torch.randn(len(splits.val), generator=torch.Generator().manual_seed(0))
    measured = {name: float(v) for name, v in task.metrics(guess[:, None], splits.val.y).items()}
    guess = guess * scale + mean
    assert measured == {
        "mse": pytest.approx(metrics.mean_squared_error(y, guess), rel=1e-4),
        "rmse": pytest.approx(metrics.root_mean_squared_error(y, guess), rel=1e-4),
        "mae": pytest.approx(metrics.mean_absolute_error(y, guess), rel=1e-4),
        "r2": pytest.approx(metrics.r2_score(y, guess), rel=1e-3),
    }


def test_the_default_space_is_read() -> None:
    space = SearchSpace(Tabular.space)
    assert set(space.names) - standard_names() - set(Tabular.defaults) == set()
    # A linear model has neither width nor dropout.
    assert not space.is_active("width", {"depth": 0})
    assert space.is_active("width", {"depth": 1})


def test_few_rows_are_folded_and_trained_for_longer(tmp_path: Path) -> None:
    random = np.random.RandomState(0)

    def made(n: int, **options: Any) -> Tabular:
        frame = pd.DataFrame({"x": random.normal(size=n), "patient": np.arange(n) // 5})
        frame["y"] = frame["x"] > 0
        frame.to_csv(tmp_path / "t.csv", index=False)
        return Tabular(data=str(tmp_path / "t.csv"), target="y", **options)

    few, many = made(2000), made(2001)
    assert (made(50).validation, made(49).validation) == ({"folds": 5}, {})
    assert (few.budget, few.validation) == ({"epochs": 54}, {"folds": 5})
    assert (many.budget, many.validation) == ({}, {})
    # Each fold shall validate on both classes.
    frame = pd.DataFrame({"x": random.normal(size=100), "y": [1] * 9 + [0] * 91})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert Tabular(data=str(tmp_path / "t.csv"), target="y").validation == {}
    # Groups may be too few for so many folds, and ordered folds train on few rows at first.
    assert made(100, groups="patient").validation == {}
    assert made(100, order="patient").validation == {}


@pytest.mark.parametrize("folder", ["base", "here"])
def test_paths_start_at_the_study_then_at_the_current_folder(
    table: Path, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    base, here = (table.parent, elsewhere) if folder == "base" else (elsewhere, table.parent)
    monkeypatch.chdir(here)
    task = resolve("tabular", {"data": "churn.csv", "target": "spent"}, base)
    assert task.data().n_rows == 60


def test_wrong_options(table: Path) -> None:
    data = str(table)
    assert problems(data=data, target="chruned") == {
        "task_options.target": "no column chruned; there are "
        "id, age, town, since, constant, churned, grade, spent; did you mean churned?"
    }
    assert set(problems(data=data, target="x", drop=["y", "town"])) == {
        "task_options.target",
        "task_options.drop",
    }
    assert problems(data=data, target="spent", drop="spent") == {
        "task_options.drop": "spent is the target"
    }
    assert problems(data=data, target="spent", drop=[1]) == {
        "task_options.drop": "must be a list of columns; found [1]"
    }
    assert problems(data=data, target="spent", missing=[1]) == {
        "task_options.missing": "must be a list of texts; found [1]"
    }
    assert problems(data=5, target="") == {
        "task_options.data": "must be text; found 5",
        "task_options.target": "must be text; found ''",
    }
    assert (
        "too many; set kind"
        in problems(data=data, target="id", kind="classification")["task_options.target"]
    )
    assert set(problems(data=data, target="spent", kind="number")) == {"task_options.kind"}
    assert problems(data=data, tagret="spent") == {
        "task_options.tagret": "unknown; did you mean target?",
        "task_options.target": "Tabular needs this option",
    }
    assert (
        "did you mean churn.csv?"
        in problems(data=data[:-9] + "chrun.csv", target="spent")["task_options.data"]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n" + "1,0\n2,1\n" * 4, "has 8 rows with a y; it takes at least 10"),
        ("a,y\n" + "1,0\n1,1\n" * 10, "t.csv has no usable column beside y"),
        ("y\n" + "0\n1\n" * 10, "t.csv has no usable column beside y"),
        ("a,y\n" + "1,\n" * 20, "has 0 rows with a y"),
    ],
)
def test_tables_that_cannot_be_learnt_from(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert message in problems(data=str(tmp_path / "t.csv"), target="y")["task_options.data"]


def test_a_line_of_numbers(tmp_path: Path) -> None:
    """The simplest table there is: y = 2x + 1 over 0, 1, 2, ..."""
    (tmp_path / "line.csv").write_text("x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(50)))
    task = Tabular(data=str(tmp_path / "line.csv"), target="y")
    assert task.describe()["numeric"] == ["x"]
    assert task.metric == "val_r2"


def test_impossible_params_are_the_tasks_error(table: Path) -> None:
    task = Tabular(data=str(table), target="spent")
    with pytest.raises(TaskError, match="did you mean relu"):
        task.model(Params({"activation": "rleu"}).with_defaults(task.defaults))


def test_other_rows_come_in_the_columns_of_the_table(table: Path) -> None:
    task = Tabular(data=str(table), target="spent", drop="churned")
    own = task.samples(pd.read_csv(table))
    assert own.equals(task.data().plan.x[own.columns])  # type: ignore[attr-defined]
    rows = pd.DataFrame({"age": ["40", "old"], "town": ["Aa", None], "grade": ["a", "z"]})
    found = task.samples(rows.assign(since=["2021-05-01", "never"]))
    assert list(found.columns) == list(own.columns)
    assert found["age"].tolist() == [40.0, pytest.approx(np.nan, nan_ok=True)]
    assert found["town"].iloc[0] == "Aa"
    assert found["since (month)"].tolist() == [5.0, pytest.approx(np.nan, nan_ok=True)]
    with pytest.raises(TaskError, match="the rows have no column age, since, town"):
        task.samples(rows[["grade"]])


def test_rows_may_be_split_by_order(table: Path) -> None:
    task = resolve("tabular", {"data": str(table), "target": "spent", "order": "since"})
    splits = task.data().splits()
    spent = pd.read_csv(table)["spent"]
    assert splits.test is not None
    for part, rows in ((splits.test, spent[48:]), (splits.val, spent[36:48])):
        assert np.corrcoef(part.y, rows)[0, 1] == pytest.approx(1)


def test_rows_of_a_group_stay_together(table: Path) -> None:
    frame = pd.read_csv(table)
    frame["patient"] = np.arange(len(frame)) // 6
    frame["copy"] = frame["patient"] * 1.5
    frame.to_csv(table, index=False)
    options = {"data": str(table), "target": "spent", "groups": "patient", "drop": "town"}
    task: Any = resolve("tabular", options)
    assert task.describe()["dropped"]["patient"] == "is excluded by the study"
    place = task.describe()["numeric"].index("copy")
    splits = task.data().splits()
    parts = [set(part.x[:, place].tolist()) for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 10


def test_wrong_columns_to_split_by(table: Path) -> None:
    file = {"data": str(table), "target": "churned"}
    assert problems(**file, groups="twon") == {
        "task_options.groups": "no column twon; there are id, age, town, "
        "since, constant, churned, grade, spent; did you mean town?"
    }
    assert problems(**file, order="churned") == {"task_options.order": "churned is the target"}
    assert problems(**file, groups="town") == {
        "task_options.groups": "town is missing in 5 of 58 rows"
    }
    assert problems(**file, order="grade") == {
        "task_options.order": "grade must hold numbers, or dates such as 2024-01-31"
    }
    assert problems(**file, order="id", groups="grade") == {
        "task_options.order": "rows are split by groups or by order"
    }
