from __future__ import annotations

import math
from typing import Any

import pytest

from hpo.spec.space.params import Params
from hpo.train.objective.losses import DEFAULT_LOSSES, LOSSES, losses_of
from hpo.train.recipe.hyperparameters import (
    Scope,
    applied,
    check,
    complete,
    mistakes,
    n_per_batch,
    readers,
    standard_names,
)
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.recipe.schedules import SCHEDULES
from hpo.train.recipe.standard_hyperparameters import HYPERPARAMETERS
from hpo.train.recipe.weight_averaging import AVERAGES


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_defaults_are_possible(optimizer: str, schedule: str) -> None:
    for kind, losses in ((kind, losses_of(kind)) for kind in DEFAULT_LOSSES):
        for loss in losses:
            values = {"optimizer": optimizer, "schedule": schedule, "loss": loss}
            params = complete(Params(values), {}, Scope(kind=kind))
            assert check(params, Scope(kind=kind)) == []
            assert set(params) == {*applied(params, Scope(kind=kind)), "dropout"}
    assert set(params) <= standard_names()


def test_every_standard_name_applies_somewhere() -> None:
    points = [{"optimizer": o, "schedule": s} for o in OPTIMIZERS for s in SCHEDULES]
    points += [{"loss": loss} for loss in LOSSES]
    points += [{"averaging": name} for name in AVERAGES]
    names = {name for point in points for name in applied(point, Scope(n_axes=3))}
    assert names | {"dropout"} == standard_names()


def test_the_space_goes_before_the_task_goes_before_the_standard() -> None:
    params = complete(Params({"momentum": 0.1}), {"momentum": 0.2, "learning_rate": 3, "own": 4})
    assert params.asdict().items() >= {"momentum": 0.1, "learning_rate": 3, "own": 4}.items()
    assert params.batch_size == 32


def test_defaults_depend_on_the_optimizer() -> None:
    assert complete(Params({"optimizer": "adamw"}), {}).weight_decay == 0.01
    # Also where the task chose it.
    assert complete(Params(), {"optimizer": "adam"}).learning_rate == 0.001
    assert complete(Params({"schedule": "step"}), {}).gamma == 0.1


def test_names_that_do_not_apply_are_free_for_the_task() -> None:
    params = complete(Params({"optimizer": "sgd", "gamma": -2.0, "alpha": "red"}), {})
    assert params.gamma == -2.0
    assert "beta1" not in params
    assert check(params) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("learning_rate", v) for v in (0, -1.0, math.nan, math.inf, "0.1", True, None)],
        *[("batch_size", v) for v in (0, -32, 32.0, "32", "all", True)],
        *[("momentum", v) for v in (-0.1, 1, 1.5)],
        *[("nesterov", v) for v in (1, "yes")],
        *[("class_weights", v) for v in (1, True, "even")],
        *[("label_smoothing", v) for v in (-0.1, 1.0)],
        *[("warmup_epochs", v) for v in (-1, 1.5)],
        *[("dropout", v) for v in (-0.1, 1.0)],
        *[(name, -1e-9) for name in ("weight_decay", "grad_clip", "l1")],
        *[(name, "none") for name in ("optimizer", "schedule", "loss")],
    ],
)
def test_impossible_values(name: str, value: Any) -> None:
    assert list(mistakes({name: value})) == [name]
    (sentence,) = check({name: value})
    assert sentence.startswith(f"{name} must be {HYPERPARAMETERS[name].allowed}; found")


def test_impossible_values_of_what_applies() -> None:
    assert check({"optimizer": "adam", "beta1": 1.0, "eps": 0}) == [
        "beta1 must be from 0 to below 1; found 1.0",
        "eps must be above 0; found 0",
    ]
    assert check({"schedule": "step", "step_size": 0}) == [
        "step_size must be a whole number from 1; found 0"
    ]
    assert check({"optimizer": "adm"})[0].endswith("; found 'adm'; did you mean adam?")
    assert check({"learning_rate": -1}, Scope(own_optimizer=True)) == []
    assert check({"label_smoothing": -1}, Scope(own_loss=True)) == []
    assert check({"label_smoothing": -1, "class_weights": 3}, Scope(kind="regression")) == []


def test_losses_are_those_of_the_kind() -> None:
    assert complete(Params(), {}, Scope(kind="regression")).loss == "mse"
    assert complete(Params(), {}, Scope(kind="classification")).loss == "cross_entropy"
    assert "loss" not in complete(Params(), {}, Scope(own_loss=True))
    assert check({"loss": "hinge"}, Scope(kind="regression")) == [
        "loss must be bce, mse, mae, huber for a regression; found 'hinge'"
    ]
    assert check({"loss": "focl"})[0].endswith("found 'focl'; did you mean focal?")
    assert check({"loss": "focal", "focal_gamma": -1}) == [
        "focal_gamma must be at least 0; found -1"
    ]
    assert readers("focal_gamma") == 'loss = "focal"'


@pytest.mark.parametrize(("size", "n"), [("full", 100), (32, 32), (100, 100), (101, 100), (1, 1)])
def test_n_per_batch(size: int | str, n: int) -> None:
    assert n_per_batch(size, 100) == n


def test_readers_are_told() -> None:
    assert readers("beta1") == 'optimizer = "adam" or optimizer = "adamw"'
    assert readers("step_size") == 'schedule = "step"'
    assert all(readers(name) for name in standard_names())
