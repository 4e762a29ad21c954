"""Task options of the built-in tasks: checked, or refused with what is allowed."""

from __future__ import annotations

from typing import Any, Final

from hpo.errors import SpecError
from hpo.spec.values.findings import Findings
from hpo.spec.values.kinds import Flag, Number, ValueKind, Whole
from hpo.tasks.tables.table_files import wrong

_SEED: Final = Whole(0, 2**32 - 1)


def require(**options: tuple[Any, ValueKind]) -> None:
    """Refuses options that are not of their kind.

    Args:
        **options: The value and the kind of each option, by name.

    Raises:
        SpecError: One or more options are wrong; all of them are listed.
    """
    findings = Findings(("task_options",))
    for name, (value, kind) in options.items():
        kind.read(value, findings.below(name))
    if findings.problems:
        raise SpecError(source="the study", problems=findings.problems)


def require_path(value: Any) -> None:
    """Refuses a path that is not text.

    Raises:
        SpecError: It is not text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise wrong("data", f"must be a path; found {value!r}")


def seed(value: Any) -> tuple[Any, ValueKind]:
    """Returns a seed with its kind."""
    return value, _SEED


def count(value: Any, low: int, high: int) -> tuple[Any, ValueKind]:
    """Returns a whole number with its kind."""
    return value, Whole(low, high)


def number(value: Any, low: float, high: float, *, is_open: bool = False) -> tuple[Any, ValueKind]:
    """Returns a number with its kind; ``is_open`` excludes the bounds."""
    return value, Number(low, high, is_open, is_open)


def flag(value: Any) -> tuple[Any, ValueKind]:
    """Returns a flag with its kind."""
    return value, Flag()
