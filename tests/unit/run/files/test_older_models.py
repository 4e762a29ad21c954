"""Files of models that older versions wrote, and what their tasks may do wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.errors import TaskError
from hpo.run.files.older_models import completed
from hpo.spec.study_spec import StudySpec


class Pair(hpo.Task):
    def data(self) -> Any:
        return [1.0], [0]

    def model(self, params: hpo.Params) -> Any:
        raise NotImplementedError


def test_data_that_is_no_data_is_told(tmp_path: Path) -> None:
    spec = StudySpec(
        name="s", task="digits-mlp", metric="val_accuracy", direction="maximize",
        budget={"trials": 1}, space={},
    )  # fmt: skip
    with pytest.raises(TaskError, match=r"Pair\.data must return an hpo\.Data; found "):
        completed({}, tmp_path / "model.pt", Pair(), spec)
