"""Who trains loads what training needs, and not what only plots, tables or pages need."""

from __future__ import annotations

import pytest

from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

TASK = """\
import os, sys
import torch
from torch import nn
import hpo


class Line(hpo.Task):
    metric = "val_loss"

    def data(self):
        x = torch.linspace(-1, 1, 200)[:, None]
        return hpo.Data.split(x, x * 3)

    def model(self, params):
        with open(f"modules-{os.getpid()}", "w") as file:
            print(*sorted(sys.modules), sep="\\n", file=file)
        return nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))
"""
STUDY = """\
task = "line.py:Line"
[budget]
trials = 4
epochs = 3
[space]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
batch_size = 32
"""
NOT_FOR_TRAINING = {
    "alembic",
    "boto3",
    "botocore",
    "google.cloud.storage",
    "matplotlib",
    "optuna_dashboard",
    "pandas",
    "plotly",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "sympy",
}


def test_a_worker_loads_no_plots_and_no_tables(installed: Installed) -> None:
    installed.write("line.py", TASK)
    installed.write("line.toml", STUDY)
    assert "4/4 trials" in installed.hpo("run", "line.toml")
    loaded = [set(path.read_text().split()) for path in installed.folder.glob("modules-*")]
    assert len(loaded) == 3  # The command, which looks the task over, and two workers.
    assert [modules & NOT_FOR_TRAINING for modules in loaded] == [set(), set(), set()]
