"""A study's models predict as they were tested: the user gets what the test metrics speak of."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.datasets import load_diabetes

import hpo
from hpo.errors import SpecError
from hpo.tasks.tabular import Tabular
from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def study_of(frame: pd.DataFrame, folder: Path, **sections: Any) -> hpo.Study:
    frame.to_csv(folder / "table.csv", index=False)
    spec = hpo.StudySpec(
        name="table",
        task="tabular",
        task_options={"data": str(folder / "table.csv"), "target": "y"},
        space={"learning_rate": 0.01, "depth": {"low": 0, "high": 1}, "optimizer": "adamw"},
        budget={"trials": 2, "epochs": 4},
        **sections,
    )
    return hpo.run(spec, storage=f"sqlite:///{folder}/hpo.db", workers=1, device="cpu")


def rows_for_testing(study: hpo.Study, frame: pd.DataFrame) -> pd.DataFrame:
    options = {"data": study.spec.task_options["data"], "target": "y"}
    plan = Tabular(**options).data().plan
    return frame.iloc[plan.rule.assign(plan.targets, study.spec.validation).test]  # type: ignore[attr-defined]


def table(n: int = 120) -> pd.DataFrame:
    random = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "size": random.normal(50, 10, n),
            "town": random.choice(["Aa", "Bb", "Cc"], n),
            "since": pd.date_range("2020-01-01", periods=n, freq="17D").astype(str),
            "old": random.rand(n) > 0.5,
        }
    )
    frame["y"] = 3 * frame["size"] + 20 * (frame["town"] == "Aa") + random.normal(0, 5, n)
    frame.loc[::7, "size"] = np.nan
    frame.loc[::9, "town"] = None
    return frame


def test_classes_by_the_models_of_all_folds(tmp_path: Path) -> None:
    frame = table()
    frame["y"] = np.where(frame["y"] > frame["y"].median(), "much", "little")
    study = study_of(frame, tmp_path)
    assert study.spec.validation.folds == 5
    rows = rows_for_testing(study, frame)
    # Without the target, in another order, with columns that the table lacks.
    found = study.predict(rows[["town", "since", "old", "size"]].assign(more=1))
    assert list(found.columns) == ["little", "much"]
    assert list(found.index) == list(rows.index)
    best = study.best
    assert metrics.log_loss(rows["y"], found) == pytest.approx(best.test["test_log_loss"], rel=1e-4)
    assert metrics.roc_auc_score(rows["y"] == "much", found["much"]) == pytest.approx(
        best.test["test_auroc"]
    )
    # A single row, in which all may be missing, is a row all the same.
    lone = rows.iloc[:1].assign(size=np.nan, town=None, since=None)
    assert study.predict(lone).sum(axis=1).tolist() == pytest.approx([1.0])
    with pytest.raises(SpecError, match="the rows have no column size"):
        study.predict(rows[["town", "since", "old"]])


def test_numbers_in_the_targets_units(tmp_path: Path) -> None:
    frame = table()
    study = study_of(frame, tmp_path, validation={"folds": 1})
    rows = rows_for_testing(study, frame)
    found = study.predict(rows)
    error = metrics.root_mean_squared_error(rows["y"], found[0])
    assert error == pytest.approx(study.best.test["test_rmse"], rel=1e-4)


def test_the_command_tells_what_python_predicts(shell: Shell) -> None:
    frame = table()
    frame["y"] = np.where(frame["y"] > frame["y"].median(), "much", "little")
    study = study_of(frame, shell.folder, validation={"folds": 2})
    new = frame.drop(columns="y").head(30)
    new.to_csv(shell.folder / "new.csv", index=False)
    expected = study.predict(new)

    found = pd.read_csv(io.StringIO(shell.hpo("predict", "table", "new.csv", "-f", "csv")))
    assert list(found.columns) == ["row", "prediction", "p(little)", "p(much)"]
    assert found["p(much)"].to_numpy() == pytest.approx(expected["much"].to_numpy())
    assert list(found["prediction"]) == list(expected.idxmax(axis=1))
    # The only study need not be named, and a table shows the first rows.
    said = shell.hpo("predict", "new.csv")
    assert "prediction" in said
    assert "... and 10 more" in said
    said = shell.hpo("predict", "new.csv", "-o", "found.parquet")
    assert said == "wrote found.parquet, 30 rows\n"
    written = pd.read_parquet(shell.folder / "found.parquet")
    pd.testing.assert_frame_equal(written, found, check_dtype=False)

    new.drop(columns="size").to_csv(shell.folder / "less.csv", index=False)
    wrong = {
        ("tabel", "new.csv"): (2, "holds no study 'tabel'. Did you mean table?"),
        ("table", "nwe.csv"): (2, "no file nwe.csv in .; did you mean new.csv?"),
        ("table", "less.csv"): (2, "the rows have no column size"),
        ("table", "new.csv", "-o", "found.cvs"): (2, "must be one of csv, parquet; did you mean"),
        ("table", "new.csv", "-o", "no/found.csv"): (2, "there is no folder no"),
        ("table",): (2, "no file table in .; did you mean table.csv?"),
        (): (2, "hpo predict STUDY new.csv"),
    }
    for arguments, (code, message) in wrong.items():
        assert message in " ".join(shell.hpo("predict", *arguments, expect=code).split())


OWN = """
import hpo
from torch import nn


class Own(hpo.Task):
    def data(self):
        return hpo.data.diabetes()

    def model(self, params):
        return nn.Linear(10, 1)
"""


def test_the_command_takes_arrays_and_runs_only_code_that_is_allowed(shell: Shell) -> None:
    shell.write("own.py", OWN)
    study = """
name   = "own"
task   = "own.py:Own"
metric = "val_r2"
budget = { trials = 1, epochs = 3 }
space  = { learning_rate = 0.1 }
"""
    shell.write("own.toml", study)
    shell.hpo("run", "own.toml", "--workers", "1")
    x = load_diabetes().data[:3].astype("float32")
    np.save(shell.folder / "x.npy", x)
    assert "own.py:Own" in shell.hpo("predict", "own", "x.npy", expect=4)
    rows = json.loads(shell.hpo("predict", "own", "x.npy", "--allow", "own.py", "-f", "json"))
    assert [row["row"] for row in rows] == [1, 2, 3]
    assert all(50 < row["prediction"] < 300 for row in rows)
    np.save(shell.folder / "odd.npy", np.array([object()]), allow_pickle=True)
    assert "does not hold an array of numbers" in shell.hpo("predict", "own", "odd.npy", expect=2)
    assert "no file y.npy" in shell.hpo("predict", "own", "y.npy", expect=2)
