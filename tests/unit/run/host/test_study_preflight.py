"""Every mistake of a study is told at once, also where the task cannot be built with them."""

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.run.host.manager import prepare

_TASK = """\
import hpo
from torch import nn

class Own(hpo.Task):
    def data(self):
        return hpo.data.digits()
    def model(self, params):
        return nn.Sequential(nn.Linear(64, params.channels), nn.Linear(params.channels, 10))
"""
_OWN = 'task = "own.py:Own"\n'
_EPOCH = "budget = { trials = 4, epoch = 3 }\n"


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "own.py").write_text(_TASK)
    (folder / "m.toml").write_text(text)
    with pytest.raises(SpecError) as caught:
        prepare(folder / "m.toml")
    assert caught.value.source == str(folder / "m.toml")
    return [problem.key for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("channels", "key"),
    [
        ("{ low = 4, high = 1 }", "space.channels"),
        ("{ choices = [] }", "space.channels.choices"),
        ("{ low = 4, hihg = 8 }", "space.channels.hihg"),
    ],
)
def test_a_wrong_parameter_of_an_own_task(tmp_path: Path, channels: str, key: str) -> None:
    text = f"{_OWN}{_EPOCH}metric = 'val_acuracy'\n[space]\nlearning_rate = 0.1\nmomentm = 0.5\n"
    text += f"channels = {channels}\n[validation]\nfold = 3\n[sampler]\nname = 'tpe'\nseeds = 1\n"
    found = mistakes(tmp_path, text)
    assert {"budget.epoch", "metric", "space.momentm", "validation.fold", "sampler.seeds", key} <= {
        *found
    }


def test_a_wrong_task_stands_beside_the_other_mistakes(tmp_path: Path) -> None:
    assert mistakes(tmp_path, f"{_OWN}{_EPOCH}[space]\ndepth = 2\n") == [
        "budget.epoch",
        "space.channels",
        "space.depth",
    ]


@pytest.mark.parametrize(
    ("when", "keys"),
    [
        ('{ optimiser = "sgd" }', ["space.momentum.when.optimiser"]),
        ('{ optimizer = "sdg" }', ["space.momentum.when.optimizer"]),
        ('{ momentum = "sgd" }', ["space.momentum"]),
        ('{ optimizer = "sgd", width = 8 }', ["space.momentum.when.width"]),
        (
            '{ optimiser = "sgd", learning_rate = 1 }',
            ["space.momentum.when.optimiser", "space.momentum.when.learning_rate"],
        ),
    ],
)
def test_a_wrong_condition(tmp_path: Path, when: str, keys: list[str]) -> None:
    text = (
        f'task = "digits-mlp"\n{_EPOCH}[space]\nlearning_rate = {{ low = 0.1, high = 0.2 }}\n'
        'depth = { choices = [] }\noptimizer = { choices = ["sgd", "adam"] }\n'
        f"momentum = {{ low = 0.0, high = 0.9, when = {when} }}\n"
    )
    assert mistakes(tmp_path, text) == ["budget.epoch", "space.depth.choices", *keys]


@pytest.mark.parametrize(
    ("task", "space", "keys"),
    [
        ("own.py:Own", '{ channels = { low = "a" }, Channels = 3 }', ["channels.low", "Channels"]),
        (
            "own.py:Own",
            "{ channels = 2, optimizer = 'sdg', momentm = 1 }",
            ["optimizer", "momentm"],
        ),
        (
            "digits-mlp",
            "{ learning_rate = -1, optimizer = 'sdg', widht = 1 }",
            ["learning_rate", "optimizer", "widht"],
        ),
    ],
)
def test_no_mistake_of_a_space_hides_another(
    tmp_path: Path, task: str, space: str, keys: list[str]
) -> None:
    found = mistakes(tmp_path, f'task = "{task}"\n{_EPOCH}space = {space}\n')
    assert set(found) >= {"budget.epoch", *(f"space.{key}" for key in keys)}


def test_a_space_that_is_none_is_told_alone(tmp_path: Path) -> None:
    assert mistakes(tmp_path, f"{_OWN}{_EPOCH}space = 3\n") == ["budget.epoch", "space"]
