"""Command line of a study: a program and its arguments, with placeholders for a trial's values.

A command is split into words as a shell splits them, but no shell runs it. Placeholders are filled
after that, so that a value with spaces stays one argument.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import wrong

PLACEHOLDERS: Final[Mapping[str, str]] = {
    "trial_dir": "the folder of the trial",
    "params_file": "a JSON file with the trial's parameters",
    "seed": "the seed of the trial",
    "trial": "the number of the trial",
    "epochs": "the largest number of epochs of a trial",
}
"""hpo's own placeholders, with their meaning. The others are the study's parameters."""

_LONGEST: Final = 10_000
_BRACES: Final = "literal braces are written {{ and }}"


@dataclass(frozen=True)
class Placeholder:
    """A place for a value in a command.

    Attributes:
        name: A parameter, or one of ``PLACEHOLDERS``.
        flag: Text that stands there if the value is true, for ``{nesterov:--nesterov}``; None if
            the value itself stands there.
    """

    name: str
    flag: str | None = None


Word: TypeAlias = tuple[str | Placeholder, ...]


class CommandText:
    """The kind of a command: text that splits into words, with well-formed placeholders."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the command as it was written, or ``WRONG``."""
        if not isinstance(value, str):
            return wrong(findings, f"must be text; found {show(value)}")
        if len(value) > _LONGEST:
            return wrong(findings, f"must be at most {_LONGEST:,} characters long")
        if not all(c.isprintable() or c in "\n\t" for c in value):
            return wrong(findings, f"must be printable; found {show(value)}")
        try:
            words = parse(value)
        except ValueError as error:
            return wrong(findings, str(error))
        if not words or not words[0]:
            return wrong(findings, "must name a program")
        return value


def parse(command: str) -> tuple[Word, ...]:
    """Returns the words of a command, each as text and placeholders.

    Raises:
        ValueError: A quote or a brace has no partner, or a placeholder is malformed.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {str(error).lower()}") from None
    return tuple(parse_word(word) for word in words)


def parse_word(word: str) -> Word:
    """Returns one word, or other text with placeholders such as a path.

    Raises:
        ValueError: A brace has no partner, or a placeholder is malformed.
    """
    parts: list[str | Placeholder] = []
    try:
        fields = list(string.Formatter().parse(word))
    except ValueError:
        raise ValueError(f"has a single brace in {show(word)}; {_BRACES}") from None
    for text, name, flag, conversion in fields:
        if text:
            parts.append(text)
        if name is None:
            continue
        if conversion or (flag and not _is_plain(flag)):
            raise ValueError(f"{{{name}}} takes no conversion and no format; {_BRACES}")
        parts.append(Placeholder(name, flag or None))
    return tuple(parts)


def placeholders(words: Sequence[Word]) -> tuple[Placeholder, ...]:
    """Returns all placeholders in their order."""
    return tuple(part for word in words for part in word if isinstance(part, Placeholder))


def fill(command: str, values: Mapping[str, Any]) -> list[str]:
    """Returns the program and its arguments for one trial.

    A word with a parameter that does not apply at this point is left out. If the word is nothing
    else, so is the option before it: without a value for ``momentum``, ``--momentum {momentum}``
    and ``--momentum={momentum}`` leave nothing. A word that is only ``{nesterov:--nesterov}`` is
    left out if ``nesterov`` is false.

    Args:
        command: A command that ``CommandText`` has read.
        values: Values of the trial's parameters and of ``PLACEHOLDERS``. A name that is missing is
            a parameter that does not apply.
    """
    filled: list[str] = []
    option = False
    for word in parse(command):
        missing = any(p.name not in values for p in placeholders([word]))
        if missing and len(word) == 1 and option:
            filled.pop()
        option = False
        if missing:
            continue
        text = "".join(_part(part, values) for part in word)
        if text or not any(p.flag for p in placeholders([word])):
            filled.append(text)
            option = _is_option(word)
    return filled


def fill_text(text: str, values: Mapping[str, Any]) -> str:
    """Returns text such as a path with its placeholders filled.

    Raises:
        KeyError: A value is missing.
    """
    return "".join(_part(part, values) for part in parse_word(text))


def as_text(value: Any) -> str:
    """Returns a parameter's value as a command and the environment have it.

    Floats keep every digit; booleans are ``true`` and ``false``.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _part(part: str | Placeholder, values: Mapping[str, Any]) -> str:
    if isinstance(part, str):
        return part
    value = values[part.name]
    if part.flag is None:
        return as_text(value)
    return part.flag if value else ""


def _is_option(word: Word) -> bool:
    """Returns whether a word is the name of an option, whose value is the next word."""
    return len(word) == 1 and isinstance(word[0], str) and word[0][:1] == "-" and "=" not in word[0]


def _is_plain(flag: str) -> bool:
    return "{" not in flag and "}" not in flag
