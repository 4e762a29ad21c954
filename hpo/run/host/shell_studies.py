"""Shell studies: studies that a command line gives as an objective or a command, not as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hpo.errors import SpecError
from hpo.spec.shell_notation import EXAMPLE, read_arguments

NEEDED: Final = "name a study file, a study, --objective FILE.py:FUNCTION, or a command after --"

SOURCE: Final = "the study"
"""What messages call such a study."""


def table_of(objective: str | None, command: Sequence[str]) -> dict[str, Any]:
    """Returns the table of a study file.

    Args:
        objective: Reference of an Optuna objective.
        command: In place of it: a program and its arguments in shell notation.

    Raises:
        SpecError: Neither is given, or the command has mistakes: all of them.
    """
    if objective is None:
        if not command:
            raise SpecError(NEEDED, hint=EXAMPLE)
        written = read_arguments(command)
        return {
            "name": _name_of_command(command),
            "command": written.command,
            "space": written.space,
        }
    where, _, function = objective.rpartition(":")
    name = Path(where).stem if where.endswith(".py") else where.rpartition(".")[2] or function
    return {"name": name, "objective": objective}


def hint_of(keys: Sequence[str]) -> str | None:
    """Returns the options that a study given by a command still needs.

    Args:
        keys: Keys with a mistake.
    """
    options = {"metric": "--metric NAME", "budget": "--trials N"}
    needed = [option for key, option in options.items() if key in keys]
    return f"give {' and '.join(needed)} before --, as in {EXAMPLE}" if needed else None


def _name_of_command(command: Sequence[str]) -> str:
    """Returns the name of a study: that of its script, else of its program."""
    words = (*command, "", "")
    script = words[2] if words[1] == "-m" else words[1]
    is_script = script and not script.startswith(("-", "~")) and not set(script) & set("={}")
    return Path(script if is_script else words[0]).stem or "study"
