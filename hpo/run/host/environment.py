"""Environment of a study: the packages, the commit and the files that it runs with here."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Final

from hpo.spec import command_line
from hpo.spec.study_spec import StudySpec
from hpo.store.studies.provenance import Environment

LARGEST_FILE: Final = 256 * 2**20
"""In bytes: a larger file is not read once more for its checksum."""
_GIT_S: Final = 3.0
"""Longest time for one question to git, in seconds; a repository on a slow disk takes longer."""


def of_study(spec: StudySpec, base_dir: Path | None) -> Environment:
    """Returns the environment of a study in this process.

    Args:
        spec: The study.
        base_dir: Folder that its relative paths refer to. None if only the database names it: git
            is not run in such a folder, and its files are not read.
    """
    found = Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=_packages(),
    )
    if base_dir is None:
        return found
    folder = base_dir.absolute()
    files = {name: _checksum(folder / name) for name in sorted(set(_files(spec, folder)))}
    found = replace(found, files=files)
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return found
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return replace(
        found,
        commit=commit,
        folder=(_git(folder, "rev-parse", "--show-prefix") or "").rstrip("/"),
        is_modified=None if changes is None else bool(changes),
    )


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in metadata.distributions():
        # An unfinished installation has neither.
        name, version = package.metadata["Name"], package.metadata["Version"]
        if name and version:
            found.setdefault(name, version)
    return dict(sorted(found.items(), key=lambda entry: entry[0].lower()))


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns what git answers; None if there is no repository, no git, or no answer in time."""
    # Optional locks: a status must not write into a repository that its owner works in.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def _files(spec: StudySpec, folder: Path) -> Iterator[str]:
    """Yields the files that a study names: its code, its table, words of its command."""
    for name in _names(spec):
        try:
            if name and (folder / name).is_file():
                yield name
        except (OSError, ValueError):
            # No name of a file, such as a very long text.
            continue


def _names(spec: StudySpec) -> Iterator[str]:
    if spec.command is not None:
        program, *arguments = (_text(word) for word in command_line.parse(spec.command))
        # A program such as python is found elsewhere; a script of the study lies in its folder.
        yield program if "/" in program and not Path(program).is_absolute() else ""
        yield from (argument.rpartition("=")[2] for argument in arguments)
    else:
        where = spec.reference.rpartition(":")[0]
        yield where if where.endswith(".py") else ""
    yield from (value for value in spec.task_options.values() if isinstance(value, str))


def _text(word: command_line.Word) -> str:
    """Returns a word of a command; empty if it differs between trials."""
    return word[0] if len(word) == 1 and isinstance(word[0], str) else ""


def _checksum(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
