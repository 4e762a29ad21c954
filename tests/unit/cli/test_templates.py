"""Study files that `hpo init` writes are study files, which `hpo check` accepts."""

from pathlib import Path

import pytest

from hpo.cli import templates
from hpo.cli.study_subjects import StudySubject, look_at
from hpo.run.host import study_preflight
from hpo.spec import toml
from hpo.tasks import TASKS

_HERE = Path()
_DOWNLOADED = ("california-housing", "mnist", "fashion-mnist", "cifar10")
_WITH_DATA = ("images", "tabular")


@pytest.mark.parametrize("task", ["mine.py:Net", "package.module:Net"])
def test_a_task_of_ones_own(task: str) -> None:
    text = templates.study("a.toml", "a", StudySubject(task, is_built_in=False), {})
    spec = toml.loads(text, "a.toml")
    assert (spec.name, spec.task, spec.metric) == ("a", task, ())
    assert spec.budget.trials == 60
    assert spec.space.is_active("momentum", {"optimizer": "sgd"})


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in TASKS if task not in _WITH_DATA])
def test_a_built_in_task(task: str) -> None:
    parsed = toml.parse(templates.study("a.toml", "a", look_at(task, {}, _HERE), {}), "a.toml")
    assert parsed.spec is not None
    assert parsed.spec.space.names
    if task not in _DOWNLOADED:
        assert study_preflight.check_task(parsed.draft, _HERE, ()).problems == ()


def test_a_table_with_names_that_need_quoting() -> None:
    options = {"data": "d\\x.csv", "target": 't"é'}
    text = templates.study("t.toml", 'a "b"', StudySubject("tabular"), options)
    spec = toml.loads(text, "t.toml")
    assert spec.name == 'a "b"'
    assert spec.task_options == options
    assert len(spec.space) == 0


def test_an_objective() -> None:
    spec = toml.loads(templates.objective("o.toml", "o", "train.py:objective"), "o.toml")
    assert spec.objective == "train.py:objective"
    assert spec.directions == ("minimize",)


def test_nothing_in_a_file_is_wider_than_a_screen() -> None:
    texts = [
        templates.study("study.toml", "study", look_at("digits-mlp", {}, _HERE), {}),
        templates.study(
            "t.toml", "t", StudySubject("tabular"), {"data": "my.csv", "target": "label"}
        ),
        templates.objective("o.toml", "o", "train.py:objective"),
    ]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 100
