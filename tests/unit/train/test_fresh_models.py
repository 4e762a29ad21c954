"""Models that a task keeps and returns again are refused; frozen layers may be kept."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.train.checks.task_preview import metric_names, read_parameters
from hpo.train.fresh_models import KeptModelError, require_independent, require_new
from hpo.train.task import Task
from tests.kits.toy import blobs

SPACE = SearchSpace({"learning_rate": 0.1})
KEPT = nn.Linear(2, 3)


@lru_cache
def cached(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 3))


class Toy(Task):
    def data(self) -> Any:
        raise NotImplementedError


class Module(Toy):
    def model(self, params: Params) -> nn.Module:
        return KEPT


class Attribute(Toy):
    net = nn.Linear(2, 3)

    def model(self, params: Params) -> nn.Module:
        return self.net


class Cached(Toy):
    def model(self, params: Params) -> nn.Module:
        return cached(4)


class First(Toy):
    """Keeps the first model that it builds."""

    net: nn.Module | None = None

    def model(self, params: Params) -> nn.Module:
        self.net = self.net or nn.Linear(2, 3)
        return self.net


class Layer(Toy):
    """A kept layer within a new model."""

    def __init__(self) -> None:
        self.first = nn.Linear(2, 4)

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(self.first, nn.ReLU(), nn.Linear(4, 3))


class Weight(Toy):
    """A kept parameter in a new layer."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.randn(3, 2))

    def model(self, params: Params) -> nn.Module:
        layer = nn.Linear(2, 3)
        layer.weight = self.weight
        return layer


class Memory(Toy):
    """The same memory in a new parameter."""

    def __init__(self) -> None:
        self.weight = torch.randn(3, 2)

    def model(self, params: Params) -> nn.Module:
        layer = nn.Linear(2, 3)
        layer.weight = nn.Parameter(self.weight)
        return layer


class Warm(Toy):
    """Begins with what the last model has learnt."""

    last: nn.Module | None = None

    def model(self, params: Params) -> nn.Module:
        layer = nn.Linear(2, 3)
        if self.last is not None:
            layer.load_state_dict(self.last.state_dict())
        self.last = layer
        return layer


class Assigned(Toy):
    """Pretrained weights that are used in place of a copy."""

    def __init__(self) -> None:
        self.weights = nn.Linear(2, 3).state_dict()

    def model(self, params: Params) -> nn.Module:
        layer = nn.Linear(2, 3)
        layer.load_state_dict(self.weights, assign=True)
        return layer


class Statistics(Toy):
    """A kept layer without weights, but with means of what it has seen."""

    def __init__(self) -> None:
        self.norm = nn.BatchNorm1d(2, affine=False)

    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(self.norm, nn.Linear(2, 3))


def examine(task: Task) -> None:
    read_parameters(task, SPACE, blobs())
    metric_names(task, blobs())


@pytest.mark.parametrize(
    "cls", [Module, Attribute, Cached, First, Layer, Weight, Memory, Assigned, Statistics]
)
def test_a_kept_model_is_refused(cls: type[Task]) -> None:
    with pytest.raises(KeptModelError, match=f"{cls.__name__}.model must build a new model each"):
        examine(cls())


def test_a_model_that_begins_as_the_last_one_ended_is_refused() -> None:
    with pytest.raises(KeptModelError, match="weight holds what an earlier model has learnt"):
        metric_names(Warm(), blobs())
    # The first look is at shapes alone.
    with pytest.raises(TaskError) as caught:
        examine(Warm())
    assert caught.value.hint is not None
    assert "model() must create all weights anew" in caught.value.hint


class Pretrained(Toy):
    """Copies weights into a new layer, on top of a frozen one that it keeps."""

    def __init__(self) -> None:
        self.base = nn.Linear(2, 4).requires_grad_(False)
        self.head = nn.Linear(4, 3).state_dict()
        self.scale: Tensor = torch.ones(2)

    def model(self, params: Params) -> nn.Module:
        head = nn.Linear(4, 3)
        head.load_state_dict(self.head)
        return nn.Sequential(self.base, nn.ReLU(), head)


class Tied(Toy):
    """One layer twice within a model."""

    def model(self, params: Params) -> nn.Module:
        layer = nn.Linear(2, 2)
        return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(2, 3))


@pytest.mark.parametrize("cls", [Pretrained, Tied])
def test_what_may_be_kept(cls: type[Task]) -> None:
    task = cls()
    read_parameters(task, SPACE, blobs())
    assert metric_names(task, blobs())
    model = task.model(Params())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    require_independent(task, model, Params())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_that_are_gone_are_forgotten() -> None:
    for _ in range(3):
        require_new("Toy.model", nn.Linear(2, 3))


def test_no_model_at_all() -> None:
    class Nothing(Toy):
        def model(self, params: Params) -> nn.Module:  # type: ignore[return]
            nn.Linear(2, 3)  # the return is missing

    with pytest.raises(TaskError, match=r"found nothing \(is a return missing\?\)"):
        metric_names(Nothing(), blobs())
