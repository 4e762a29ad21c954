"""What is read from the script of an objective, without running it."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.tasks.code.script_settings import Takeover, take_over

HEAD = "import optuna\ndef objective(trial):\n    return trial.suggest_float('x', 0, 1)\n"


def _read(body: str, function: str = "objective", **given: Any) -> Takeover:
    return take_over(HEAD + body, "train.py", function, given, ("minimize",))


@pytest.mark.parametrize(
    "body",
    [
        'optuna.create_study(direction="maximize").optimize(objective)',
        'optuna.create_study(None, None, None, None, "maximize")',
        'DIRECTION = "maximize"\noptuna.create_study(direction=DIRECTION)',
        'DIRECTION: str = "maximize"\nif __name__ == "__main__":\n'
        "    optuna.create_study(direction=DIRECTION)",
        "optuna.create_study(direction=optuna.study.StudyDirection.MAXIMIZE)",
        "from optuna.study import StudyDirection as SD, create_study as cs\n"
        "cs(direction=SD.MAXIMIZE)",
        "from optuna import *\ncreate_study(direction='maximize')",
        "import optuna as op\ndef main():\n    study = op.study.create_study(direction='maximize')",
        'OPTIONS = {"direction": "maximize"}\noptuna.create_study(**OPTIONS)',
        'OPTIONS = dict(direction="maximize")\noptuna.create_study(**OPTIONS)',
        'optuna.create_study(directions=["maximize"])',
    ],
)
def test_the_direction_is_taken_over_however_it_is_written(body: str) -> None:
    found = _read(body)
    assert found.directions == ("maximize",)
    (line,) = found.lines
    assert line.startswith("train.py:")
    assert line.endswith("creates its study with direction maximize: taken over")


def test_several_directions_are_taken_over() -> None:
    found = _read('optuna.create_study(directions=["minimize", "maximize"])')
    assert found.directions == ("minimize", "maximize")
    assert found.lines == (
        "train.py:4 creates its study with directions minimize, maximize: taken over",
    )


@pytest.mark.parametrize(
    "body",
    [
        "import sys\noptuna.create_study(direction=sys.argv[1])",
        "def main(direction='maximize'):\n    optuna.create_study(direction=direction)",
        "D = 'maximize'\nif 1:\n    D = 'minimize'\noptuna.create_study(direction=D)",
        "optuna.create_study(**load())",
        "optuna.create_study(direction='max')",
    ],
)
def test_a_direction_that_cannot_be_read_is_told_and_not_guessed(body: str) -> None:
    found = _read(body)
    assert found.directions == ()
    (line,) = found.lines
    assert "a direction that cannot be read" in line
    assert line.endswith("hpo takes minimize, unless you give --direction")


def test_studies_that_disagree_are_told_and_none_is_taken() -> None:
    body = 'optuna.create_study(direction="maximize")\noptuna.create_study()\n'
    found = _read(body)
    assert found.directions == ()
    assert found.lines[0] == (
        "train.py creates studies with different directions (maximize in line 4, minimize in "
        "line 5): hpo takes minimize, unless you give --direction"
    )


def test_the_study_that_optimises_the_objective_is_the_one_that_counts() -> None:
    body = (
        "study = optuna.create_study(direction='minimize')\n"
        "study.optimize(other, n_trials=7)\n"
        "study = optuna.create_study(direction='maximize')\n"
        "study.optimize(lambda t: objective(t), n_trials=9)\n"
    )
    found = _read(body)
    assert found.directions == ("maximize",)
    assert found.lines[1] == "train.py: not taken over: n_trials 9 (--trials 9) in line 7"


def test_a_class_counts_where_its_instance_is_optimised() -> None:
    body = (
        "one = Model(3)\nstudy = optuna.create_study(direction='maximize')\n"
        "study.optimize(one, 5)\noptuna.create_study().optimize(objective)\n"
    )
    assert _read(body, "Model").directions == ("maximize",)
    assert _read(body, "objective").directions == ()


def test_the_rest_is_told_with_how_to_ask_for_it() -> None:
    body = (
        "sampler = optuna.samplers.NSGAIISampler(constraints_func=c, seed=1)\n"
        "study = optuna.create_study('sqlite:///a.db', sampler, optuna.pruners.NopPruner(),\n"
        "    study_name='mine')\n"
        "study.enqueue_trial({'x': 0.5, 'kind': 'a'})\n"
        "N = 40\n"
        "study.optimize(objective, N, timeout=7200, n_jobs=2,\n"
        "    callbacks=[optuna.study.MaxTrialsCallback(50), print])\n"
    )
    (line,) = _read(body).lines
    for part in (
        "constraints_func (hpo has no constraints: trials that break them count, too) in line 5",
        "sampler NSGAIISampler (--sampler nsga2) in line 5",
        "pruner NopPruner (--pruner none) in line 5",
        "storage sqlite:///a.db (--storage sqlite:///a.db) in line 5",
        "study_name mine (--name mine) in line 5",
        "an enqueued trial in line 7 (hpo enqueue STUDY x=0.5 kind=a)",
        "n_trials 40 (--trials 40) in line 9",
        "timeout 7200 (--hours 2) in line 9",
        "n_jobs 2 (--workers N) in line 9",
        "MaxTrialsCallback 50 (--trials 50) in line 9",
        "callback print (hpo calls none) in line 9",
    ):
        assert part in line


def test_nothing_is_told_of_what_the_user_has_said_himself() -> None:
    body = (
        "study = optuna.create_study(direction='maximize', sampler=S(), pruner=P(), storage='s')\n"
        "study.optimize(objective, n_trials=40, timeout=1, n_jobs=2)\n"
    )
    given: dict[str, Any] = {
        "direction": ("minimize",),
        "sampler": {},
        "pruner": {},
        "storage": "sqlite:///b.db",
    }
    assert _read(body, **given, trials=40, hours=1.0, workers=1) == Takeover()


def test_a_script_without_a_study_says_nothing() -> None:
    assert _read("print('hello')\nmodel.optimize(3)\n") == Takeover()
    assert _read("this is no Python") == Takeover()


TWO = """import functools, optuna
from elsewhere import imported
def cond(trial):
    return trial.suggest_float("x", 0, 1)
def raises(trial, n=1):
    return trial.suggest_float("x", 0, 1)
class Model:
    def __call__(self, trial):
        return trial.suggest_float("x", 0, 1)
"""
MAXIMISES = (
    "study = optuna.create_study(direction='maximize', study_name='mine')\n"
    "study.enqueue_trial({'x': 0.5})\n"
)


@pytest.mark.parametrize(
    ("target", "own"),
    [
        ("cond", "cond"),
        ("lambda t: cond(t)", "cond"),
        ("lambda t: round(cond(t), len(raises.__name__))", "cond"),
        ("functools.partial(raises, n=2)", "raises"),
        ("functools.partial(lambda t, n: raises(t, n), n=2)", "raises"),
        ("imported", "imported"),
        ("Model()", "Model"),
    ],
)
@pytest.mark.parametrize("is_variable", [False, True])
@pytest.mark.parametrize("function", ["cond", "raises", "imported", "Model"])
def test_a_study_speaks_for_what_it_optimises_only(
    target: str, own: str, is_variable: bool, function: str
) -> None:
    uses = (
        f"f = {target}\nstudy.optimize(f, 50)" if is_variable else f"study.optimize({target}, 50)"
    )
    found = take_over(TWO + MAXIMISES + uses, "ob.py", function, {}, ("minimize",))
    if function == own:
        assert found.directions == ("maximize",)
        assert "n_trials 50" in found.lines[1]
    else:
        assert found == Takeover()


@pytest.mark.parametrize(
    "uses",
    [
        "study.optimize(load(), 50)",
        "def main(objective):\n    study.optimize(objective, 50)",
        "for f in functions:\n    study.optimize(f, 50)",
        "",
    ],
)
def test_what_cannot_be_told_is_of_the_only_objective(uses: str) -> None:
    assert take_over(TWO + MAXIMISES + uses, "ob.py", "cond", {}, ("minimize",)) == Takeover()
    helped = "def width(trial):\n    return trial.suggest_int('w', 1, 9)\n"
    alone = HEAD.replace("return", "return width(trial) *") + helped
    found = take_over(alone + MAXIMISES + uses, "ob.py", "objective", {}, ("minimize",))
    assert found.directions == ("maximize",)


def test_the_only_objective_is_not_what_the_script_optimises() -> None:
    body = "from elsewhere import other\n" + MAXIMISES + "study.optimize(other)\n"
    assert _read(body) == Takeover()
