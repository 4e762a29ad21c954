"""Study files that `hpo init` writes are study files."""

import pytest

from hpo.cli import templates
from hpo.spec import toml


@pytest.mark.parametrize("task", ["digits-mlp", "mine.py:Net", "package.module:Net"])
def test_a_task(task: str) -> None:
    spec = toml.loads(templates.study("a.toml", "a", task=task), "a.toml")
    assert (spec.name, spec.task) == ("a", task)
    assert spec.budget.trials == 60
    assert spec.space.is_active("momentum", {"optimizer": "sgd"})


def test_a_table_with_names_that_need_quoting() -> None:
    text = templates.study("t.toml", 'a "b"', task="tabular", data="d\\x.csv", target='t"é')
    spec = toml.loads(text, "t.toml")
    assert spec.name == 'a "b"'
    assert spec.task_options == {"data": "d\\x.csv", "target": 't"é'}
    assert len(spec.space) == 0


def test_an_objective() -> None:
    spec = toml.loads(templates.objective("o.toml", "o", "train.py:objective"), "o.toml")
    assert spec.objective == "train.py:objective"
    assert spec.directions == ("minimize",)


def test_nothing_in_a_file_is_wider_than_a_screen() -> None:
    texts = [
        templates.study("study.toml", "study"),
        templates.study("t.toml", "t", task="tabular", data="my.csv", target="label"),
        templates.objective("o.toml", "o", "train.py:objective"),
    ]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 100
