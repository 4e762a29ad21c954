"""``hpo init``: a study file to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click
import tomlkit

from hpo.cli import templates
from hpo.cli.messages import say
from hpo.cli.options import Command
from hpo.errors import SpecError, did_you_mean
from hpo.spec import ready_made

DEFAULT_PATH = "study.toml"


@click.command(cls=Command)
@click.argument("path", type=click.Path(dir_okay=False), required=False)
@click.option("--from", "origin", metavar="NAME", help="Copy a ready-made study, such as wine.")
@click.option("--task", metavar="TASK", help="digits-mlp, tabular, or your own: FILE.py:CLASS.")
@click.option("--objective", metavar="FILE.py:FUNCTION", help="A study of an Optuna objective.")
@click.option("--data", metavar="FILE", help="CSV or Parquet file; implies --task tabular.")
@click.option("--target", metavar="COLUMN", help="The column to predict.")
@click.option("--name", help="Name of the study; the file's name otherwise.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def init(
    path: str | None,
    origin: str | None,
    task: str | None,
    objective: str | None,
    data: str | None,
    target: str | None,
    name: str | None,
    force: bool,
) -> None:
    """Write a commented study file to start from.

    PATH is study.toml, or the name of the ready-made study, if it is left out.
    """
    if origin is not None:
        if any(value is not None for value in (task, objective, data, target)):
            raise SpecError("give --from alone: a ready-made study has its task and data")
        path, written = _copied(origin, path, name)
    else:
        path = path or DEFAULT_PATH
        written = _fresh(path, task, objective, data, target, name)
    _write(Path(path), written, force=force)
    say(f"wrote {path}")
    say(f" next: hpo check {path} · hpo run {path}")


def _copied(origin: str, path: str | None, name: str | None) -> tuple[str, str]:
    """Returns where a copy of a ready-made study goes, and its text."""
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
    task = task or ("tabular" if data is not None or target is not None else None)
    _require_consistent(task, objective, data, target)
    name = name or Path(path).stem
    if objective is not None:
        return templates.objective(path, name, objective)
    return templates.study(
        path,
        name,
        task=task or "digits-mlp",
        data=None if data is None else _beside(data, path),
        target=target,
    )


def _require_consistent(
    task: str | None, objective: str | None, data: str | None, target: str | None
) -> None:
    if objective is not None and task is not None:
        raise SpecError("give --task or --objective, not both")
    if task not in (None, "tabular") and (data is not None or target is not None):
        raise SpecError(f"--data and --target are for --task tabular, not for {task}")
    if task == "tabular" and (data is None or target is None):
        missing = " and ".join(
            option for option, value in (("--data", data), ("--target", target)) if value is None
        )
        raise SpecError(f"a tabular study needs {missing}")


def _beside(data: str, path: str) -> str:
    """Returns the data's path as a study file at ``path`` has to write it."""
    if Path(data).is_absolute():
        return data
    return Path(os.path.relpath(data, Path(path).parent)).as_posix()


def _write(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise SpecError(f"{path} is there already", hint="--force overwrites it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror or error}") from None
