"""Logger choices: which loggers this machine's user names, with their targets.

They are no part of a study: a study file, an option or the environment of this machine names them,
and the database never does. So no row of a database makes a machine send anything anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hpo.errors import Problem, SpecError

SECTION: Final = "loggers"
ENVIRONMENT_VARIABLE: Final = "HPO_LOG"
_NAME: Final = re.compile(r"[A-Za-z][\w.-]*")
_MASK: Final = "***"


@dataclass(frozen=True, repr=False)
class LoggerChoice:
    """A logger by its name, and where it logs to.

    Attributes:
        name: ``tensorboard``, ``mlflow``, ``wandb``, ``webhook`` or an entry point's.
        target: A folder, a URL or what else the logger takes; None for its default. It may hold a
            password: ``shown`` masks it.
    """

    name: str
    target: str | None = None

    @property
    def shown(self) -> str:
        """The choice for messages and logs, without secrets."""
        return f"{self.name}={masked(self.target)}" if self.target else self.name

    def hidden(self, text: str) -> str:
        """Returns text of others, such as an error, without the secrets of the target."""
        if not self.target:
            return text
        for secret in sorted(_secrets(self.target), key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text

    def __repr__(self) -> str:
        return f"LoggerChoice({self.shown!r})"


def masked(target: str) -> str:
    """Returns a target without what may be secret: of a URL, all but its scheme and host."""
    try:
        parts = urlsplit(target)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return _MASK
    if parts.scheme in ("http", "https"):
        where = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        return where if parts.path in ("", "/") and not parts.query else f"{where}/{_MASK}"
    if "@" in parts.netloc:
        return target.replace(parts.netloc.rpartition("@")[0], _MASK)
    return target


def read_options(texts: Iterable[str], source: str = "--log") -> tuple[LoggerChoice, ...]:
    """Reads ``NAME`` or ``NAME=TARGET``.

    Raises:
        SpecError: A text has no name, or an empty target.
    """
    found = []
    for text in texts:
        name, separator, target = text.partition("=")
        if not _NAME.fullmatch(name) or (separator and not target.strip()):
            raise SpecError(f"{source} must be NAME or NAME=TARGET, such as tensorboard=runs")
        found.append(LoggerChoice(name, target.strip() or None))
    return tuple(found)


def of_environment() -> tuple[LoggerChoice, ...]:
    """Returns the loggers of ``$HPO_LOG``, which are separated by spaces.

    Raises:
        SpecError: It is wrong.
    """
    texts = os.environ.get(ENVIRONMENT_VARIABLE, "").split()
    return read_options(texts, f"${ENVIRONMENT_VARIABLE}")


def read_section(table: Any, source: str, folder: Path | None = None) -> tuple[LoggerChoice, ...]:
    """Reads the section ``[loggers]`` of a study file.

    Args:
        table: Its content: true or a target for each name; false leaves a logger out.
        source: The file, for messages.
        folder: Folder of the file, to which paths of targets refer.

    Raises:
        SpecError: It has mistakes.
    """
    if not isinstance(table, Mapping):
        problem = Problem(SECTION, 'must be a table, such as loggers.tensorboard = "runs"')
        raise SpecError(source=source, problems=[problem])
    problems, found = [], []
    for name, value in table.items():
        if isinstance(value, bool) or (isinstance(value, str) and value.strip()):
            target = None if isinstance(value, bool) else _from(folder, name, value.strip())
            if value is not False:
                found.append(LoggerChoice(name, target))
        else:
            # The value may be a secret, so it is not shown.
            problems.append(Problem(f"{SECTION}.{name}", "must be true, false or a text"))
    if problems:
        raise SpecError(source=source, problems=problems)
    return tuple(found)


def merged(*several: Iterable[LoggerChoice]) -> tuple[LoggerChoice, ...]:
    """Returns all choices, each logger once: what is named first goes before what is named later.

    A logger may be named twice in one place, with two targets.
    """
    found: list[LoggerChoice] = []
    for choices in several:
        known = {choice.name for choice in found}
        found += [choice for choice in dict.fromkeys(choices) if choice.name not in known]
    return tuple(found)


def _from(folder: Path | None, name: str, target: str) -> str:
    is_folder = name == "tensorboard" and "://" not in target
    return str(folder / Path(target).expanduser()) if folder and is_folder else target


def _secrets(target: str) -> set[str]:
    """Returns the parts of a target that no message may contain."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return {target}
    found = {target} if masked(target) != target else set()
    if parts.scheme in ("http", "https"):
        path = parts.path.strip("/")
        found |= {path, parts.query} if len(path) > 1 else {parts.query}
        found |= {piece for piece in path.split("/") if len(piece) >= 8}
    found |= {parts.password or "", parts.netloc.rpartition("@")[0]}
    return {secret for secret in found if secret}
