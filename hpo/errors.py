"""Exceptions of hpo: each has an exit code, and the CLI catches them in one place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Problem:
    """One mistake in a study: where it is and what is wrong with it.

    Attributes:
        key: Dotted path of the wrong entry, such as ``space.learning_rate``.
        message: What was found and what is allowed.
    """

    key: str
    message: str


class HpoError(Exception):
    """Base class of errors that end a command with a message instead of a traceback.

    Args:
        message: One sentence that says what is wrong.
        hint: What to do about it, shown on a line of its own.
        details: Lines that follow the message.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, hint: str | None = None, details: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        return "\n".join([self.message, *self.details])


class SpecError(HpoError):
    """The user's input is wrong: a study file, an argument, a name.

    Args:
        message: The headline; built from ``source`` and ``problems`` when empty.
        source: Where the input came from: a file's path, ``StudySpec``, an option.
        problems: Every mistake that was found, in the order of the input.
        hint: What to do about it.
        details: Lines that follow the message, before the problems.
    """

    exit_code = 2

    def __init__(
        self,
        message: str = "",
        *,
        source: str | None = None,
        problems: Iterable[Problem] = (),
        hint: str | None = None,
        details: Iterable[str] = (),
    ) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(
            message or _headline(source, len(self.problems)),
            hint=hint,
            details=(*details, *_lines(self.problems)),
        )


class StoreError(HpoError):
    """The database cannot be used as it is: unreachable, too old, unknown study."""

    exit_code = 3


class TaskError(HpoError):
    """The user's task or objective cannot be loaded, or does not do what a task must."""

    exit_code = 4


class LaunchError(HpoError):
    """Workers cannot be started: no such device, no such launcher."""

    exit_code = 5


class InternalError(HpoError):
    """A bug in hpo, which no change of the input fixes."""


_USUAL_WORDS: Final[Mapping[str, str]] = {
    "lr": "learning_rate",
    "learningrate": "learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "optim": "optimizer",
    "n_layers": "depth",
    "num_layers": "depth",
    "layers": "depth",
    "hidden": "width",
    "hidden_size": "width",
    "units": "width",
    "bayes": "gp",
    "bayesian": "gp",
    "sobol": "qmc",
    "sha": "asha",
    "values": "choices",
    "options": "choices",
    "min": "low",
    "max": "high",
    "n_trials": "trials",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "timeout": "hours",
    "cmd": "command",
    "script": "command",
    "program": "command",
    "regex": "pattern",
}
"""Names that other tools and papers use, where they do not resemble hpo's names."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed name closest to ``name``, or None when none is similar."""
    names = list(allowed)
    by_lower = {candidate.lower(): candidate for candidate in names}
    usual = _USUAL_WORDS.get(name.lower())
    if usual in by_lower and name.lower() not in by_lower:
        return usual
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Returns ``"; did you mean X?"`` for a misspelt name, else an empty string."""
    match = nearest(name, allowed)
    return f"; did you mean {match}?" if match else ""


def _lines(problems: Iterable[Problem]) -> list[str]:
    shown = [(shortened(p.key), p.message) for p in problems]
    width = max((len(key) for key, _ in shown), default=0)
    gap = "   " if width else ""
    return [f"  {key:<{width}}{gap}{message}".rstrip() for key, message in shown]


def shortened(name: str, limit: int = 80) -> str:
    """Returns a name cut to ``limit`` characters."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _headline(source: str | None, n_problems: int) -> str:
    subject = source or "the input"
    return f"{subject} has {n_problems} mistake{'' if n_problems == 1 else 's'}"
