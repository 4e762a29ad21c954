"""Command preflight: whether a study's command can start here, and what a trial would run."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpo.errors import Problem, SpecError, did_you_mean
from hpo.spec.command_line import PLACEHOLDERS, Word, fill, parse, placeholders
from hpo.spec.space.dimensions import Categorical, Fixed, Float, Int, Parameter
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.study_spec import StudySpec

_INTERPRETERS: Final = ("python", "bash", "sh", "Rscript", "julia", "node", "perl", "ruby")
_SCRIPTS: Final = (".py", ".sh", ".r", ".jl", ".js", ".pl", ".rb")


def problems_of(command: str, base_dir: Path) -> tuple[Problem, ...]:
    """Returns why a command cannot start: no such folder, program or script.

    Args:
        command: The study's command.
        base_dir: Folder in which it runs, to which its relative paths refer.
    """
    if not base_dir.is_dir():
        return (Problem("command", f"runs in {base_dir}, which is not a folder here"),)
    words = parse(command)
    if not all(isinstance(part, str) for part in words[0]):
        return ()
    name = "".join(map(str, words[0]))
    if find_program(name, base_dir) is None:
        return (Problem("command", _no_program(name, base_dir)),)
    script = _script_of(name, words[1:])
    if script is None or (base_dir / script).exists():
        return ()
    near = did_you_mean(script, [file.name for file in base_dir.glob(f"*{Path(script).suffix}")])
    return (Problem("command", f"there is no file {script} in {base_dir}{near}"),)


def _script_of(program: str, arguments: Sequence[Word]) -> str | None:
    """Returns the script that an interpreter runs, if its arguments begin with one."""
    if not Path(program).name.startswith(_INTERPRETERS):
        return None
    for word in arguments:
        text = word[0] if len(word) == 1 and isinstance(word[0], str) else ""
        if not text.startswith("-"):
            return text if text.lower().endswith(_SCRIPTS) else None
    return None


def find_program(name: str, base_dir: Path) -> Path | None:
    """Returns the file of a program: on the PATH, or relative to a folder if it has a slash."""
    if "/" not in name:
        found = shutil.which(name)
        return Path(found) if found else None
    path = base_dir / Path(name).expanduser()
    return path if path.is_file() and os.access(path, os.X_OK) else None


def describe(spec: StudySpec, base_dir: Path) -> Mapping[str, Any]:
    """Returns what ``hpo check`` tells of a command, by name.

    Raises:
        SpecError: It cannot start here.
    """
    assert spec.command is not None
    found = problems_of(spec.command, base_dir)
    if found:
        raise SpecError(source=spec.name, problems=found)
    line = command_of(spec, sample_point(spec.space))
    program = find_program(line[0], base_dir)
    return {"program": str(program or line[0]), "folder": str(base_dir), "example": quoted(line)}


def command_of(
    spec: StudySpec, params: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> list[str]:
    """Returns the command of a trial; hpo's own placeholders stay as they are if not given.

    Args:
        spec: A study with a command.
        params: The trial's parameters.
        own: Values of ``PLACEHOLDERS``.
    """
    assert spec.command is not None
    held = {name: f"{{{name}}}" for name in PLACEHOLDERS}
    return fill(spec.command, {**held, "epochs": spec.budget.epochs, **(own or {}), **params})


def quoted(words: list[str]) -> str:
    """Returns a command for the shell."""
    return shlex.join(words)


def unseen(spec: StudySpec) -> tuple[str, ...]:
    """Returns the searched parameters if the command shows none of them and no file of them.

    They are in the environment, too, but a script that reads them there is rare.
    """
    assert spec.command is not None
    named = {one.name for one in placeholders(parse(spec.command))}
    searched = [name for name in spec.space.names if not isinstance(spec.space[name], Fixed)]
    seen = named & {*searched, "params_file", "trial_dir"}
    return () if seen else tuple(searched)


def sample_point(space: SearchSpace) -> dict[str, Any]:
    """Returns a point in the middle of a space."""
    point: dict[str, Any] = {}
    for name in space.order():
        if space.is_active(name, point):
            point[name] = _middle(space[name])
    return point


def _middle(parameter: Parameter) -> Any:
    match parameter:
        case Fixed():
            return parameter.value
        case Categorical():
            return parameter.choices[0]
        case Float() | Int():
            return _between(parameter)


def _between(parameter: Float | Int) -> float:
    low, high = parameter.low, parameter.high
    middle = (low * high) ** 0.5 if parameter.log else low + (high - low) / 2
    if parameter.step is not None:
        middle = low + parameter.step * ((high - low) / parameter.step // 2)
    return round(middle) if isinstance(parameter, Int) else float(f"{middle:.3g}")


def _no_program(name: str, base_dir: Path) -> str:
    if "/" not in name:
        also = f"; write ./{name} for the file in {base_dir}" if (base_dir / name).is_file() else ""
        return f"there is no program {name} on the PATH{also}"
    path = base_dir / Path(name).expanduser()
    if path.is_file():
        return f"{name} is not executable; `chmod +x {shlex.quote(name)}` makes it so"
    near = did_you_mean(path.name, [file.name for file in path.parent.glob("*")])
    return f"there is no program {name} in {base_dir}{near}"
