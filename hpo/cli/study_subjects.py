"""Subjects of new studies: checks a task or objective before its study file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.spec.space.search_space import SearchSpace
from hpo.tasks import TASKS
from hpo.tasks.code.resolve import Allow, load_objective, resolve, task_class
from hpo.tasks.tables.table_files import read_table
from hpo.train.task import Task

_MAX_LISTED = 12


@dataclass(frozen=True)
class StudySubject:
    """A task as its study file describes it.

    Attributes:
        task: The task's reference.
        is_built_in: Whether the task is built into hpo.
        metric: The task's metric; None if it depends on the data.
        direction: The direction of that metric.
        space: The task's search space in the form of a study file; empty if it has none.
    """

    task: str
    is_built_in: bool = True
    metric: str | None = None
    direction: str | None = None
    space: Mapping[str, Any] = field(default_factory=dict)


def require_objective(reference: str, base_dir: Path) -> None:
    """Checks that an objective exists.

    Raises:
        HpoError: It does not.
    """
    try:
        load_objective(reference, base_dir, Allow((reference,)))
    except SpecError as error:
        raise _of_options(error, reference) from error


def look_at(task: str, options: Mapping[str, Any], base_dir: Path) -> StudySubject:
    """Checks that a task, its data and its target exist.

    Args:
        task: The task's reference.
        options: Values of the command line for ``[task_options]``.
        base_dir: Folder of the study file.

    Raises:
        HpoError: One of them does not exist or cannot be used.
    """
    try:
        # A user's task may need options that are not given yet.
        found = resolve(task, options) if options else task_class(task, base_dir, Allow((task,)))
    except SpecError as error:
        if task == "tabular" and "target" not in options:
            raise SpecError(_missing_target(options["data"])) from error
        raise _of_options(error, task) from error
    metric = found.metric if isinstance(found.metric, str) else None
    space = SearchSpace(found.space).to_table() if isinstance(found, Task) else _space(found)
    return StudySubject(task, task in TASKS, metric, found.direction, space)


def _space(cls: type[Task]) -> Mapping[str, Any]:
    return SearchSpace(cls.space).to_table() if isinstance(cls.space, Mapping) else {}


def _missing_target(data: str) -> str:
    try:
        names = [str(name) for name in read_table(Path(data)).columns]
    except SpecError as error:
        return str(_of_options(error, data))
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    columns = ", ".join(names[:_MAX_LISTED])
    return f"--target COLUMN is missing; the columns of {data} are {columns}{more}"


def _of_options(error: SpecError, given: str) -> SpecError:
    """Returns an error about a study file's entries as one about the command's options."""
    lines = [
        f"--{problem.key.removeprefix('task_options.')}: {problem.message}"
        for problem in error.problems
    ]
    return SpecError("; ".join(lines) or f"{given}: {error}", hint=error.hint)
