"""What a study optimises where neither it nor its task says so."""

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.run.host.manager import prepare

_TASK = """\
import hpo
from torch import nn

class Classes(hpo.Task):
    def data(self):
        return hpo.data.digits()
    def model(self, params):
        return nn.Linear(64, 10)

class Numbers(hpo.Task):
    def data(self):
        return hpo.data.diabetes()
    def model(self, params):
        return nn.Linear(10, 1)
"""


@pytest.mark.parametrize(
    ("task", "direction", "metric"),
    [
        ("Classes", "", "val_accuracy"),
        ("Classes", 'direction = "minimize"', "val_loss"),
        ("Numbers", "", "val_loss"),
    ],
)
def test_the_usual_metric(tmp_path: Path, task: str, direction: str, metric: str) -> None:
    assert prepare(study(tmp_path, task, direction)).spec.metrics == (metric,)


def test_no_usual_metric(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        prepare(study(tmp_path, "Numbers", 'direction = "maximize"'))
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == (
        "metric",
        "must be named; it reports train_loss, val_loss, val_mse, val_mae, val_r2",
    )


def study(folder: Path, task: str, direction: str) -> Path:
    (folder / "own.py").write_text(_TASK)
    path = folder / "s.toml"
    path.write_text(
        f'task = "own.py:{task}"\n{direction}\nbudget = {{ trials = 2 }}\n'
        "space = { learning_rate = 0.1 }\n"
    )
    return path
