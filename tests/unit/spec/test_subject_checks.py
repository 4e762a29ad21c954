"""A study has one subject, and a command has what it needs."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.spec import toml
from hpo.spec.study_spec import ReportSpec, StudySpec

COMMAND: dict[str, Any] = {
    "name": "x",
    "command": "python train.py --lr {lr} {nesterov:--nesterov} --out {trial_dir}",
    "metric": "val/acc",
    "budget": {"trials": 10},
    "space": {"lr": {"low": 0.1, "high": 1.0}, "nesterov": {"choices": [True, False]}},
    "report": {"pattern": r"epoch (?P<epoch>\d+) acc (?P<val_acc>\S+)"},
}


def _mistakes(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        StudySpec(**{**COMMAND, **changes})
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_a_command_with_its_report() -> None:
    spec = StudySpec(**COMMAND)
    assert (spec.kind, spec.reference) == ("command", COMMAND["command"])
    assert spec.report == ReportSpec(**COMMAND["report"])
    assert (spec.report.csv, spec.report.resumes) == (None, "auto")
    assert (spec.metrics, spec.directions, spec.budget.epochs) == (("val/acc",), ("maximize",), 27)
    assert toml.loads(toml.dumps(spec)) == spec
    others = [
        StudySpec(**{**COMMAND, **change}).digest
        for change in (
            {"command": "python train.py --lr {lr} {nesterov}"},
            {"report": None},
            {"report": {**COMMAND["report"], "resumes": False}},
            {"report": {"csv": "log/{seed}.csv"}},
        )
    ]
    assert len({spec.digest, *others}) == len(others) + 1
    assert spec.with_budget(epochs=9).digest == spec.digest


def test_a_file_lists_all_mistakes_of_a_command() -> None:
    text = dedent("""\
        name = "x"
        command = "python train.py --lr {learning_rat} --out {trial_dri}"
        engine = "fused"
        [task_options]
        n = 1
        [report]
        pattern = "acc=(?P<acc>.*"
        csv = "{run}.csv"
        resume = true
    """)
    with pytest.raises(SpecError) as caught:
        toml.loads(text, "broken.toml")
    assert f"{caught.value}\n" == dedent("""\
        broken.toml has 10 mistakes
          command          unknown placeholder {learning_rat}; there are trial_dir, params_file, seed, trial, epochs
          command          unknown placeholder {trial_dri}; did you mean trial_dir?
          engine           a command trains one trial at a time; fused is for a task
          task_options     a command takes no options; they are a task's
          report.pattern   is not a regular expression: missing ), unterminated subpattern at position 4
          report.csv       unknown placeholder {run}; there are trial_dir, params_file, seed, trial, epochs
          report.resume    unknown key; did you mean resumes?
          metric           missing; name what the command reports, such as val_accuracy
          space            missing; a command needs its parameters, such as learning_rate = { low = 1e-4, high = 1e-1, log = true }
          budget           needs at least one of trials, total_epochs, hours, target
    """)  # fmt: skip # noqa: E501


@pytest.mark.parametrize(
    ("changes", "mistakes"),
    [
        (
            {"task": "digits-mlp"},
            ["command: a study has one of task, objective, command; found task and command"],
        ),
        ({"command": None}, ["task: missing; name a task such as"]),
        ({"command": "t {x:y} {lr}"}, ["command: unknown placeholder {x}; there are lr, nesterov"]),
        ({"command": "t {print}"}, ["command: unknown placeholder {print}; there are lr"]),
        ({"command": "t '{print $1}'"}, ["command: unknown placeholder {print $1}; literal"]),
        ({"command": "t {lr:--lr}"}, ["command: {lr:--lr} needs a parameter that is true or"]),
        ({"command": "t {seed:--seed}"}, ["command: {seed:--seed} needs a parameter that is true"]),
        ({"space": {"seed": 1}, "command": "t"}, ["space.seed: is taken: {seed} is the seed of"]),
        ({"validation": {"folds": 5}}, ["validation: a command splits its data itself"]),
        ({"metric": "acc"}, ["report.pattern: has no group (?P<acc>...) for the metric"]),
        ({"metric": "epoch", "report": None}, ["metric: epoch counts the reports"]),
        ({"report": {"pattern": "a"}}, ["report.pattern: needs a named group for the metric"]),
        ({"report": {"resumes": "no"}}, ['report.resumes: must be true, false or "auto"']),
        (
            {"report": {**COMMAND["report"], "csv": "a.csv"}},
            ["report.csv: the epochs come from the pattern or from the CSV"],
        ),
    ],
)
def test_mistakes(changes: dict[str, Any], mistakes: list[str]) -> None:
    found = _mistakes(**changes)
    assert len(found) == len(mistakes)
    assert all(one.startswith(start) for one, start in zip(found, mistakes, strict=True)), found


def test_a_path_of_reports_names_only_what_every_trial_has() -> None:
    space = {**COMMAND["space"], "m": {"low": 0.0, "high": 1.0, "when": {"nesterov": True}}}
    assert _mistakes(space=space, report={"csv": "{m}.csv"}) == [
        "report.csv: m does not apply in every trial"
    ]
    StudySpec(**{**COMMAND, "space": space, "report": {"csv": "{lr}/{trial}.csv"}})


def test_a_misspelt_subject_is_not_missing_too() -> None:
    assert _mistakes(command=None, report=None, comand="t {lr}") == [
        "comand: unknown key; did you mean command?"
    ]
    assert _mistakes(pattern="x") == ["pattern: belongs into [report]"]
