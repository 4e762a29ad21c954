"""What `hpo check` tells of a study."""

from typing import Any

import pytest

from hpo.cli.commands.setup.check import listed, summary
from hpo.run.host.study_preflight import CheckReport
from hpo.spec.study_spec import StudySpec

SPEC = StudySpec(
    name="s",
    task="tabular",
    metric="val_auroc",
    budget={"trials": 1, "epochs": 27, "hours": 0.5, "target": 0.99},
    space={"learning_rate": {"low": 0.1, "high": 1.0}, "optimizer": "sgd"},
)
REPORT = CheckReport(
    task="tabular",
    description={"n_rows": 1200, "classes": ["no", "yes"], "dropped": {}, "numeric": []},
    n_train=720,
    n_val=240,
    n_test=240,
    n_parameters=(10, 1000),
    metrics=("train_loss", "val_loss"),
    seconds_per_epoch=0.02,
    n_workers=2,
    upper_s=130.0,
    likely_s=0.4,
)


def test_summary() -> None:
    assert summary(SPEC, REPORT) == {
        "task": "tabular",
        "rows": "1,200",
        "classes": "no, yes",
        "samples": "720 to train on, 240 to validate, 240 to test",
        "model": "10 to 1,000 parameters",
        "metrics": "train_loss, val_loss",
        "optimises": "maximize val_auroc",
        "searches": "learning_rate",
        "budget": "1 trial, at most 27 epochs each, 0.5 hours, until val_auroc is 0.9900",
        "an epoch": "about 20 ms on one worker",
        "the search": "at most 2 min on 2 workers, likely about a second, "
        "plus a few seconds to start",
    }


@pytest.mark.parametrize(
    ("validation", "written"),
    [
        ({}, None),
        ({"folds": 1}, None),
        ({"folds": 5}, "5 models: 5 folds, tested together"),
        ({"folds": 5, "seeds": 2}, "10 models: 5 folds and 2 seeds, tested together"),
    ],
)
def test_models_of_a_trial(validation: dict[str, int], written: str | None) -> None:
    spec = StudySpec(**{**SPEC.to_table(), "validation": validation})
    assert summary(spec, REPORT).get("a trial") == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (["a"], "a"),
        ([f"c{i}" for i in range(13)], ", ".join(f"c{i}" for i in range(13))),
        (list("abcdefghijklmn"), "a, b, c, d, e, f, g, h, i, j, k, l, and 2 more"),
        ({"id": "is an id", "k": "is empty"}, "id (is an id), k (is empty)"),
        (1797, "1,797"),
        (0.5, "0.5000"),
        ("regression", "regression"),
        (True, "True"),
    ],
)
def test_what_a_task_says_of_itself(value: Any, written: str) -> None:
    assert listed(value) == written
