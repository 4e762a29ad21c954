"""What can be told of a command before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.run.host.command_preflight import command_of, problems_of, sample_point, unseen
from hpo.spec.study_spec import StudySpec


def _spec(command: str, **changes: Any) -> StudySpec:
    space = {
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "depth": {"low": 1, "high": 7, "step": 2},
        "opt": {"choices": ["adam", "sgd"]},
        "momentum": {"low": 0.0, "high": 1.0, "when": {"opt": "sgd"}},
        "tag": "a b",
    }
    table = {"name": "x", "command": command, "metric": "acc", "space": space}
    return StudySpec(**{**table, "budget": {"trials": 1}, **changes})


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python3 train.py --lr 1", ""),
        ("python3 -m train", ""),
        ("./run.sh other.py", ""),
        ("{lr} --lr 1", ""),
        ("python3 tarin.py", "there is no file tarin.py in FOLDER; did you mean train.py?"),
        ("no-such-program x", "there is no program no-such-program on the PATH"),
        ("run.sh", "there is no program run.sh on the PATH; write ./run.sh for the file in FOLDER"),
        ("./rnu.sh", "there is no program ./rnu.sh in FOLDER; did you mean run.sh?"),
        ("./train.py", "./train.py is not executable; `chmod +x ./train.py` makes it so"),
    ],
)
def test_what_is_missing_is_named(command: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "run.sh").touch(0o755)
    found = [problem.message for problem in problems_of(command, tmp_path)]
    assert found == ([message.replace("FOLDER", str(tmp_path))] if message else [])


def test_a_folder_that_another_machine_had() -> None:
    (problem,) = problems_of("python3 train.py", Path("/no/such/folder"))
    assert problem.message == "runs in /no/such/folder, which is not a folder here"


def test_the_command_of_a_point_in_the_middle() -> None:
    spec = _spec("t --lr {lr} -d {depth} -m {momentum} -t {tag} -o {trial_dir} -e {epochs}")
    point = sample_point(spec.space)
    assert point == {"lr": 0.01, "depth": 3, "opt": "adam", "tag": "a b"}
    assert command_of(spec, point) == [
        *("t", "--lr", "0.01", "-d", "3", "-t", "a b", "-o", "{trial_dir}", "-e", "27")
    ]
    assert command_of(spec, {**point, "momentum": 0.9}, {"trial_dir": "/t"})[5:9] == [
        *("-m", "0.9", "-t", "a b")
    ]


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("t --lr {lr}", ()),
        ("t {params_file}", ()),
        ("t {trial_dir}", ()),
        ("t {tag}", ("lr", "depth", "opt", "momentum")),
    ],
)
def test_parameters_that_only_the_environment_has(command: str, names: tuple[str, ...]) -> None:
    assert unseen(_spec(command)) == names
