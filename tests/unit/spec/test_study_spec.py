"""StudySpec and its parts as Python code makes them."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.spec.space.search_space import Fixed, Float, Int, SearchSpace
from hpo.spec.study_spec import (
    Budget,
    PrunerSpec,
    ResourceSpec,
    SamplerSpec,
    StudySpec,
    ValidationSpec,
)

MINIMAL: dict[str, Any] = {"name": "x", "task": "digits-mlp", "budget": {"trials": 10}}


def test_everything_but_task_and_budget_has_a_default() -> None:
    spec = StudySpec(**MINIMAL)
    assert spec.budget == Budget(trials=10, epochs=27)
    assert spec.sampler == SamplerSpec(name="auto")
    assert spec.pruner == PrunerSpec(name="auto")
    assert spec.validation == ValidationSpec(val_fraction=0.2, test_fraction=0.2, seed=0)
    assert spec.space == SearchSpace()
    assert (spec.metric, spec.direction, spec.engine, spec.seed) == ((), (), "auto", 0)


def test_parts_may_be_instances_or_what_a_file_holds() -> None:
    by_tables = StudySpec(
        **MINIMAL,
        metric="val_loss",
        sampler="random",
        pruner={"patience": 2, "name": "patient"},
        space={"depth": {"low": 1, "high": 4}, "optimizer": "sgd"},
        validation={"seed": 3},
    )
    by_parts = StudySpec(
        name="x",
        task="digits-mlp",
        budget=Budget(trials=10),
        metric=["val_loss"],
        sampler=SamplerSpec(name="random"),
        pruner=PrunerSpec(name="patient", options={"patience": 2}),
        space=SearchSpace({"depth": Int(1, 4), "optimizer": Fixed("sgd")}),
        validation=ValidationSpec(seed=3),
    )
    assert by_tables == by_parts
    assert by_tables.digest == by_parts.digest
    assert StudySpec(**by_parts.to_table()) == by_parts


def test_all_mistakes_of_python_code_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        StudySpec(name="", task=3, budget={"trials": 0}, space={"x": []}, sampler=2, bogus=1)
    assert caught.value.source == "StudySpec"
    assert caught.value.message == "StudySpec has 6 mistakes"
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["name", "task", "budget.trials", "space.x", "sampler", "bogus"]


def test_parts_name_their_own_mistakes() -> None:
    with pytest.raises(SpecError, match=r"budget\.trial   unknown key; did you mean trials"):
        Budget(trial=1)
    with pytest.raises(SpecError, match=r"pruner\.options\s+must be a table; found 3"):
        PrunerSpec(name="asha", options=3)
    with pytest.raises(SpecError, match=r"val_fraction \+ test_fraction must be below 1"):
        ValidationSpec(val_fraction=0.9)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("val_loss", "minimize"),
        ("val_rmse", "minimize"),
        ("val_mae", "minimize"),
        ("val_brier", "minimize"),
        ("error", "minimize"),
        ("val_accuracy", "maximize"),
        ("val_auroc", "maximize"),
        ("lossless", "maximize"),
    ],
)
def test_directions_follow_from_the_names_of_metrics(metric: str, direction: str) -> None:
    assert StudySpec(**MINIMAL, metric=metric).directions == (direction,)


def test_metrics_and_directions() -> None:
    two = StudySpec(**MINIMAL, metric=["val_loss", "val_accuracy"])
    assert two.metrics == ("val_loss", "val_accuracy")
    assert two.directions == ("minimize", "maximize")
    assert StudySpec(**MINIMAL).metrics == ()
    assert StudySpec(**MINIMAL).directions == ()
    assert StudySpec(**MINIMAL, metric="val_loss", direction="maximize").directions == ("maximize",)


def test_an_objective_is_minimized_as_optuna_does() -> None:
    spec = StudySpec(name="x", objective="m:f", budget={"hours": 0.5})
    assert (spec.metrics, spec.directions) == (("value",), ("minimize",))
    several = StudySpec(
        name="x", objective="m:f", budget={"trials": 5}, direction=["minimize", "maximize"]
    )
    assert several.metrics == ("value_0", "value_1")


def test_the_digest_is_that_of_everything_but_the_budget() -> None:
    spec = StudySpec(**MINIMAL, metric="val_loss")
    assert len(spec.digest) == 64
    assert spec.with_budget(trials=99, hours=2).digest == spec.digest
    assert StudySpec(**MINIMAL, metric="val_loss", seed=0, engine="auto").digest == spec.digest
    assert StudySpec(**MINIMAL, metric="val_loss", direction="minimize").digest == spec.digest
    others = [
        StudySpec(**MINIMAL, metric="val_loss", **change)
        for change in (
            {"seed": 1},
            {"direction": "maximize"},
            {"space": {"a": 1}},
            {"space": {"a": 1.0}},
            {"space": {"a": True}},
            {"space": {"a": Float(0, 1)}},
            {"space": {"a": Int(0, 1)}},
            {"sampler": "random"},
            {"sampler": {"name": "tpe", "n_startup_trials": 3}},
            {"pruner": "none"},
            {"task_options": {"n": 1}},
            {"validation": {"seed": 1}},
        )
    ]
    assert len({spec.digest, *(other.digest for other in others)}) == len(others) + 1


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    forth = StudySpec(**MINIMAL, space={"a": 1, "b": 2})
    back = StudySpec(**MINIMAL, space={"b": 2, "a": 1})
    assert forth.digest == back.digest


def test_the_digest_is_the_same_in_every_version() -> None:
    # Studies in databases hold it: when this fails, they can no longer be joined.
    spec = StudySpec(**MINIMAL, metric="val_loss", space={"lr": Float(1e-4, 1.0, log=True)})
    assert spec.digest[:16] == "2f70cc7266294f30"


def test_with_budget() -> None:
    spec = StudySpec(**MINIMAL)
    changed = spec.with_budget(trials=20, epochs=None, target=0.9)
    assert changed.budget == Budget(trials=20, target=0.9)
    assert spec.budget == Budget(trials=10)
    with pytest.raises(SpecError, match=r"budget\.trials   must be at least 1; found 0"):
        spec.with_budget(trials=0)


def test_with_defaults_fills_only_what_was_left_out() -> None:
    bare = StudySpec(**MINIMAL)
    filled = bare.with_defaults(metric="val_cost", direction="minimize", space={"depth": Int(1, 4)})
    assert filled.metrics == ("val_cost",)
    assert filled.directions == ("minimize",)
    assert filled.space["depth"] == Int(1, 4)
    own = StudySpec(**MINIMAL, metric="val_accuracy", space={"width": 3})
    assert own.with_defaults(metric="m", direction="minimize", space={"depth": 1}) == own


def test_what_a_study_gives_goes_before_its_tasks_epochs_and_folds() -> None:
    def filled(**sections: Any) -> tuple[int, int | None]:
        table = {"name": "s", "task": "t", "budget": {"trials": 1}, **sections}
        # A spec within a spec keeps what was given to it.
        spec = StudySpec(**StudySpec(**table).to_given())
        done = spec.with_defaults(budget={"epochs": 54}, validation={"folds": 5})
        assert StudySpec(**done.to_table()) == done
        return done.budget.epochs, done.validation.folds

    assert filled() == (54, 5)
    # The same as where nothing is given, and yet given.
    assert filled(budget={"trials": 1, "epochs": 27}) == (27, 5)
    assert filled(budget=Budget(trials=1, epochs=27)) == (27, 5)
    assert filled(validation={"seed": 3}) == (54, 5)
    assert filled(validation={"folds": 3}) == (54, 3)
    assert filled(validation={"folds": 1}) == (54, 1)
    assert filled(validation={"val_fraction": 0.2}) == (54, None)
    assert filled(validation=ValidationSpec(val_fraction=0.2)) == (54, None)


def test_specs_survive_pickle_and_copy() -> None:
    spec = StudySpec(**MINIMAL, task_options={"a": [1, {"b": 2}]}, space={"a": Int(1, 3)})
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert copy.deepcopy(spec) == spec
    assert spec.model_copy() == spec


def test_options_of_a_task_become_plain_values() -> None:
    spec = StudySpec(**MINIMAL, task_options={"file": Path("a/b"), "shape": (1, (2, 3))})
    assert spec.task_options == {"file": "a/b", "shape": [1, [2, 3]]}
    with pytest.raises(SpecError, match=r"task_options\.f   must be text, a number"):
        StudySpec(**MINIMAL, task_options={"f": print})


def test_none_counts_as_left_out() -> None:
    spec = StudySpec(**MINIMAL, objective=None, metric=None, space=None, sampler=None, seed=None)
    assert spec == StudySpec(**MINIMAL)


def test_importing_the_spec_loads_nothing_heavy() -> None:
    code = (
        "import sys, hpo.spec.toml; heavy = {'torch', 'optuna', 'sqlalchemy', 'pandas', 'numpy',"
        " 'sklearn', 'click', 'rich'}; sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "given",
    [
        {"gpus": 0},
        {"gpus": 0.33},
        {"gpus": 1 / 7},
        {"gpus": 0.125},
        {"gpus": 1},
        {"cpus": 4, "memory": "16GiB"},
        {"memory": "1.5 TB"},
        {"memory": "500mb"},
    ],
)
def test_resources_are_kept_as_they_are_given(given: dict[str, Any]) -> None:
    spec = StudySpec(**MINIMAL, resources=given)
    assert spec.to_table()["resources"] == given
    assert StudySpec(**spec.to_table()) == spec


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpus": -1}, "must be at least 0; found -1"),
        ({"gpus": 1.5}, "must be 0, a whole number, or a share of one GPU such as 0.5; found 1.5"),
        ({"gpus": 0.4}, "a share of a GPU must be 1/2, 1/3, ... of it: 0.5 or 0.33"),
        ({"gpus": 0.01}, "a share of a GPU must be 1/2, 1/3, ... of it: 0.031"),
        ({"gpus": 5e-324}, "a share of a GPU must be 1/2, 1/3, ... of it: 0.031"),
        ({"gpus": "all"}, 'must be a number; found "all"'),
        ({"gpus": 2}, "a task trains on one GPU; several are for an objective or a command"),
        ({"cpus": 0}, "must be at least 1; found 0"),
        ({"cpus": 0.5}, "must be a whole number; found 0.5"),
        ({"memory": 16}, 'must be a size such as "16GiB" or "500MB"; found 16'),
        ({"memory": "16"}, 'must be a size such as "16GiB" or "500MB"; found "16"'),
        ({"memory": "0GB"}, 'must be a size such as "16GiB" or "500MB"; found "0GB"'),
        ({"memory": "9" * 400 + "TB"}, "must be a size such as"),
        ({"gpu": 1}, "unknown key; did you mean gpus?"),
    ],
)
def test_wrong_resources_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        StudySpec(**MINIMAL, resources=given)
    (problem,) = caught.value.problems
    assert problem.key == f"resources.{next(iter(given))}"
    assert problem.message.startswith(message)


def test_resources_differ_from_machine_to_machine_in_one_study() -> None:
    small = StudySpec(**MINIMAL, resources={"cpus": 1, "memory": "2GiB"})
    large = small.with_resources(ResourceSpec(cpus=8))
    assert large.resources == ResourceSpec(cpus=8, memory="2GiB")
    assert large.digest == small.digest == StudySpec(**MINIMAL).digest


def test_an_objective_may_use_several_gpus() -> None:
    spec = StudySpec(name="x", objective="m:f", budget={"trials": 1}, resources={"gpus": 2})
    assert spec.resources.gpus == 2
