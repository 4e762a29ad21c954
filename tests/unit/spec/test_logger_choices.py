"""Loggers that a user names: options, the environment, study files; and never a stored study."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.run.loggers import known_loggers
from hpo.spec import toml
from hpo.spec.logger_choices import (
    LoggerChoice,
    masked,
    merged,
    of_environment,
    read_options,
    read_section,
)

STUDY = """
task = "digits-mlp"
metric = "val_accuracy"
direction = "maximize"
space.learning_rate = {low = 0.1, high = 1.0}
budget.trials = 3
"""


def test_options_name_loggers_with_targets() -> None:
    assert read_options(["tensorboard", "mlflow=http://lab:5000/a=b"]) == (
        LoggerChoice("tensorboard"),
        LoggerChoice("mlflow", "http://lab:5000/a=b"),
    )
    for wrong in ("", "=x", "mlflow=", "-x", "a b"):
        with pytest.raises(SpecError, match="--log must be NAME or NAME=TARGET"):
            read_options([wrong])


def test_the_environment_names_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_LOG", "tensorboard  wandb=p")
    assert of_environment() == (LoggerChoice("tensorboard"), LoggerChoice("wandb", "p"))


def test_what_is_named_first_goes_before(tmp_path: Path) -> None:
    option, file = read_options(["mlflow=a", "mlflow=b"]), read_options(["mlflow=c", "wandb"])
    assert merged(option, file) == (*option, LoggerChoice("wandb"))


def test_a_study_file_names_loggers_that_are_no_part_of_the_study(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    section = '[loggers]\ntensorboard = "curves"\nmlflow = true\nwandb = false\n'
    file.write_text(f"{STUDY}{section}webhook = 'https://host/s3cret'\n")
    parsed = toml.parse_file(file)
    assert parsed.loggers == (
        LoggerChoice("tensorboard", str(tmp_path / "curves")),
        LoggerChoice("mlflow"),
        LoggerChoice("webhook", "https://host/s3cret"),
    )
    assert parsed.spec is not None
    assert "s3cret" not in toml.dumps(parsed.spec) + repr(parsed)
    assert "loggers" not in toml.dumps(parsed.spec)


def test_a_stored_study_names_none() -> None:
    # As another program may have written it into a database.
    with pytest.raises(SpecError, match="loggers"):
        toml.loads(f'{STUDY}name = "x"\n[loggers]\nwebhook = "https://host/x"\n')


def test_mistakes_of_the_section_are_told_with_the_others_and_without_values(
    tmp_path: Path,
) -> None:
    file = tmp_path / "study.toml"
    text = STUDY.replace("trials = 3", "trials = 0")
    file.write_text(f"{text}[loggers]\nwebhook = ['https://host/s3cret']\n")
    with pytest.raises(SpecError) as caught:
        toml.load(file)
    assert [problem.key for problem in caught.value.problems] == [
        "budget.trials",
        "loggers.webhook",
    ]
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SpecError, match="must be a table"):
        read_section("tensorboard", "study.toml")


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/***"),
        ("http://user:pw@lab:5000", "http://lab:5000"),
        ("https://lab?token=abc", "https://lab/***"),
        ("postgresql://u:pw@db/mlflow", "postgresql://***@db/mlflow"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("runs", "runs"),
        ("http://[", "***"),
    ],
)
def test_messages_have_no_secret_of_a_target(target: str, shown: str) -> None:
    choice = LoggerChoice("any", target)
    assert masked(target) == shown
    assert choice.shown == f"any={shown}"
    hidden = choice.hidden(f"cannot reach {target}; path /services/T0/B0/xyz, pw")
    assert target == shown or target not in hidden
    assert "B0/xyz" not in hidden or "B0" not in target


def test_an_unknown_logger_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="no logger tensorbord; did you mean tensorboard"):
        known_loggers.require([LoggerChoice("tensorbord")])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match="mlflow needs a package") as caught:
        known_loggers.require([LoggerChoice("mlflow")])
    assert caught.value.hint == "pip install '.[mlflow]'"
