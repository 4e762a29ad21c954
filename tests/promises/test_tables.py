"""A person's own table, as spreadsheets write it, and a person's own task with a mistake in it."""

from __future__ import annotations

import random
from typing import Final

import pytest

from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

_STUDY: Final = """\
task = "tabular"
budget = { trials = 2, epochs = 27 }
seed = 1
validation = { folds = 1 }
[task_options]
data = "people.csv"
target = "sleep"
"""
_KEPT: Final = """\
from torch import nn
import hpo

class Kept(hpo.Task):
    metric = "val_accuracy"

    def __init__(self):
        self.net = nn.Linear(64, 10)

    def data(self):
        return hpo.data.digits()

    def model(self, params):
        return self.net
"""


def people() -> str:
    """A shuffled table with its index, whose classes follow from the income alone."""
    random.seed(0)
    lines = [",income,self,born,note,sleep"]
    for i in random.sample(range(200), 200):
        income = random.uniform(1_000, 99_000)
        born = f"{random.randint(13, 28)}/{random.randint(10, 12)}/19{random.randint(50, 99)}"
        sleep = "None" if income > 50_000 else "Apnea"
        town = random.choice(["Ulm", "Bonn"])
        lines.append(f'{i},"{income:,.0f} €",{town},{born},note {i},{sleep}')
    return "\n".join(lines) + "\n"


def test_a_table_as_a_spreadsheet_writes_it(installed: Installed) -> None:
    installed.write("people.csv", people())
    installed.write("people.toml", _STUDY)
    checked = installed.hpo("check", "people.toml")
    assert "Apnea, None" in checked
    assert "income (',' between thousands, in €), born (day/month/year)" in checked
    said = (
        "left out 2 of 5 columns: Unnamed: 0 (is a saved row number), "
        "note (is text of its own in nearly every row)"
    )
    ran = installed.hpo("run", "people.toml", "--workers", "1")
    assert ran.count(f"warning: {said}") == 1
    assert said in installed.hpo("show", "people")
    # By the income alone; without it, by chance.
    (value,) = installed.query("SELECT max(value) FROM trial_values")[0]
    assert value > 0.95


def test_a_model_that_is_kept_is_refused_before_any_trial(installed: Installed) -> None:
    installed.write("own.py", _KEPT)
    installed.write(
        "own.toml",
        'task = "own.py:Kept"\nbudget = { trials = 3, epochs = 2 }\n'
        "space = { learning_rate = 0.1 }\n",
    )
    for command in ("check", "run"):
        said = installed.hpo(command, "own.toml", expect=4)
        assert "Kept.model must build a new model each time" in said
        assert "hint: create every layer in model()" in said
    assert installed.query("SELECT * FROM trials") == []
