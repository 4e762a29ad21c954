"""A study's models predict as they were tested: the user gets what the test metrics speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

import hpo
from hpo.errors import TaskError
from hpo.tasks.tabular import Tabular

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
    return frame.iloc[plan.cut.assign(plan.targets, study.spec.validation).test]  # type: ignore[attr-defined]


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
    with pytest.raises(TaskError, match="the rows have no column size"):
        study.predict(rows[["town", "since", "old"]])


def test_numbers_in_the_targets_units(tmp_path: Path) -> None:
    frame = table()
    study = study_of(frame, tmp_path, validation={"folds": 1})
    rows = rows_for_testing(study, frame)
    found = study.predict(rows)
    error = metrics.root_mean_squared_error(rows["y"], found[0])
    assert error == pytest.approx(study.best.test["test_rmse"], rel=1e-4)
