from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from hpo.errors import SpecError, TaskError
from hpo.spec.space.params import Params
from hpo.train.data.dataset import Data
from hpo.train.task import Task, data_of, make_task
from hpo.train.user_code_guard import user_code


class Bare(Task):
    pass


class Tabular(Task):
    def __init__(self, data: str, *, target: str, sep: str = ",") -> None:
        if sep == "?":
            raise ValueError("no such separator")
        self.given = (data, target, sep)


class Open(Task):
    def __init__(self, data: str, **rest: Any) -> None:
        self.given = (data, rest)


def test_options_become_arguments() -> None:
    assert isinstance(make_task(Bare, {}), Bare)
    options = {"data": "a.csv", "target": "y"}
    assert make_task(Tabular, options).given == ("a.csv", "y", ",")
    assert make_task(Open, {"data": "a.csv", "more": 1}).given == ("a.csv", {"more": 1})


@pytest.mark.parametrize(
    ("cls", "options", "problems"),
    [
        (Bare, {"x": 1}, {"task_options.x": "unknown; the task takes no options"}),
        (
            Tabular,
            {"data": "a.csv", "traget": "y"},
            {
                "task_options.traget": "unknown; did you mean target?",
                "task_options.target": "Tabular needs this option",
            },
        ),
        (
            Tabular,
            {"data": "a.csv", "target": "y", "zzz": 1},
            {"task_options.zzz": "unknown; the task takes data, target, sep"},
        ),
        (Open, {"more": 1}, {"task_options.data": "Open needs this option"}),
    ],
)
def test_wrong_options(cls: type[Task], options: dict[str, Any], problems: dict[str, str]) -> None:
    with pytest.raises(SpecError) as caught:
        make_task(cls, options)
    assert {p.key: p.message for p in caught.value.problems} == problems


def test_a_task_refuses_options_it_never_declared() -> None:
    with pytest.raises(SpecError):
        Bare(x=1)


def test_a_constructor_that_raises() -> None:
    with pytest.raises(TaskError, match="raises ValueError: no such separator"):
        make_task(Tabular, {"data": "a", "target": "y", "sep": "?"})


def test_what_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match=r"Bare must define data\(\)"):
        Bare().data()
    with pytest.raises(NotImplementedError, match=r"Bare must define model\(params\)"):
        Bare().model(Params())


def test_prepare_is_for_the_batches_of_data_sets() -> None:
    class Prepared(Task):
        def data(self) -> Data:
            return Data.split(torch.ones(9, 2), torch.arange(9) % 2)

        def prepare(self, inputs: Any) -> Any:
            return 2 * inputs

    class Loaded(Prepared):
        def data(self) -> Data:
            return Data.datasets(TensorDataset(torch.ones(9, 2), torch.arange(9) % 2), workers=0)

    with pytest.raises(TaskError, match=r"Prepared\.prepare has no effect on samples in memory"):
        data_of(Prepared())
    assert data_of(Loaded()).is_loaded


def test_own_methods_are_told() -> None:
    class Own(Task):
        def loss(self, outputs: Any, targets: Any) -> Any:
            return super().loss(outputs, targets)

    assert Own().has_own("loss")
    assert not Own().has_own("optimizer")


def test_user_code_lets_our_own_errors_through() -> None:
    with pytest.raises(SpecError), user_code("it"):
        raise SpecError("ours")
    with pytest.raises(TaskError, match="it raises KeyError") as caught, user_code("it"):
        raise KeyError("theirs")
    assert isinstance(caught.value.__cause__, KeyError)
