"""The command ``hpo init``: writes a study file to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click
import tomlkit

from hpo.cli import templates
from hpo.cli.gc_pause import quickly
from hpo.cli.messages import say
from hpo.cli.options import Command
from hpo.errors import SpecError, did_you_mean
from hpo.spec import ready_made

DEFAULT_PATH = "study.toml"
_TABULAR = "tabular"
_IMAGES = "images"


@click.command(cls=Command)
@click.argument("path", type=click.Path(dir_okay=False), required=False)
@click.option("--from", "origin", metavar="NAME", help="Copy a ready-made study, such as wine.")
@click.option(
    "--task", metavar="TASK", help="Task: digits-mlp, tabular, or your own as FILE.py:CLASS."
)
@click.option(
    "--objective", metavar="FILE.py:FUNCTION", help="Write a study of this Optuna objective."
)
@click.option(
    "--command",
    metavar="COMMAND",
    help="Write a study of this command: 'python train.py --lr {learning_rate}'.",
)
@click.option("--data", metavar="PATH", help="A CSV or Parquet file, or a folder of images.")
@click.option("--target", metavar="COLUMN", help="The column of a table to predict.")
@click.option("--name", help="Name of the study; by default the file's name.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def init(
    path: str | None,
    origin: str | None,
    task: str | None,
    objective: str | None,
    command: str | None,
    data: str | None,
    target: str | None,
    name: str | None,
    force: bool,
) -> None:
    """Write a commented study file to start from.

    PATH defaults to study.toml, or to the name of the ready-made study.
    """
    if command is not None:
        if any(value is not None for value in (origin, task, objective, data, target)):
            raise SpecError("give --command alone: a command is the whole training")
        path = path or DEFAULT_PATH
        written = _of_command(path, command, name)
    elif origin is not None:
        if any(value is not None for value in (task, objective, data, target)):
            raise SpecError("give --from alone: a ready-made study already has its task and data")
        path, written = _copied(origin, path, name)
    else:
        path = path or DEFAULT_PATH
        _require_free(Path(path), force=force)
        written = _fresh(path, task, objective, data, target, name)
    _write(Path(path), written, force=force)
    say(f"wrote {path}")
    say(f" next: hpo check {path} · hpo run {path}")


def _of_command(path: str, command: str, name: str | None) -> str:
    """Returns a study file of a command, whose placeholders are its parameters.

    Raises:
        SpecError: The command is malformed, or has no parameter.
    """
    # They bring pydantic, which --help does without.
    from hpo.spec.command_line import PLACEHOLDERS, CommandText, parse, placeholders
    from hpo.spec.space.search_space import is_name
    from hpo.spec.values.findings import Findings

    findings = Findings()
    CommandText().read(command, findings.below("--command"))
    findings.raise_if_any("the command")
    found = dict.fromkeys(one.name for one in placeholders(parse(command)))
    parameters = [one for one in found if one not in PLACEHOLDERS]
    wrong = [one for one in parameters if not is_name(one)]
    if wrong or not parameters:
        raise SpecError(
            f"{{{wrong[0]}}} cannot be a parameter" if wrong else "the command has no parameter",
            hint="write one in braces: hpo init --command 'python train.py --lr {learning_rate}'",
        )
    return templates.command(path, name or Path(path).stem, command, parameters)


def _copied(origin: str, path: str | None, name: str | None) -> tuple[str, str]:
    """Returns the path and the text of a copy of a ready-made study."""
    file = ready_made.find(origin)
    if file is None:
        names = list(ready_made.files())
        raise SpecError(
            f"there is no ready-made study {origin}{did_you_mean(origin, names)}",
            hint=f"there are {', '.join(names)}",
        )
    text = file.read_text(encoding="utf-8")
    if name is not None:
        document = tomlkit.parse(text)
        document["name"] = name
        text = tomlkit.dumps(document)
    return path or file.name, text


def _fresh(
    path: str,
    task: str | None,
    objective: str | None,
    data: str | None,
    target: str | None,
    name: str | None,
) -> str:
    if task is None and (data is not None or target is not None):
        task = _IMAGES if data is not None and Path(data).is_dir() else _TABULAR
    _require_consistent(task, objective, data, target)
    name = name or Path(path).stem
    # Checked before PyTorch is loaded, which takes a second: mistakes are reported at once.
    with quickly():
        from hpo.cli import study_subjects
    folder = Path(path).absolute().parent
    if objective is not None:
        study_subjects.require_objective(objective, folder)
        return templates.objective(path, name, objective)
    options = {k: v for k, v in (("data", data), ("target", target)) if v is not None}
    found = study_subjects.look_at(task or "digits-mlp", options, folder)
    if data is not None:
        options["data"] = _beside(data, path)
    return templates.study(path, name, found, options)


def _require_consistent(
    task: str | None, objective: str | None, data: str | None, target: str | None
) -> None:
    if objective is not None and task is not None:
        raise SpecError("give --task or --objective, not both")
    if task not in (None, _TABULAR, _IMAGES) and (data is not None or target is not None):
        raise SpecError(f"--data and --target are for --task tabular or images, not for {task}")
    if task == _IMAGES and target is not None:
        raise SpecError("--target is for --task tabular; the folders of images are their classes")
    if task == _IMAGES and data is None:
        raise SpecError("a study of images needs --data FOLDER, with one folder per class")
    if task == _TABULAR and data is None:
        raise SpecError("a tabular study needs --data FILE")


def _beside(data: str, path: str) -> str:
    """Returns the data's path relative to a study file at ``path``."""
    if Path(data).is_absolute():
        return data
    return Path(os.path.relpath(data, Path(path).parent)).as_posix()


def _require_free(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise SpecError(f"{path} already exists", hint="--force overwrites it")


def _write(path: Path, text: str, *, force: bool) -> None:
    _require_free(path, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror or error}") from None
