"""The options of the built-in tasks: each is of its kind, or refused with what it must be."""

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
        **options: By its name, the value of an option and what it must be.

    Raises:
        SpecError: With all that are wrong.
    """
    findings = Findings(("task_options",))
    for name, (value, kind) in options.items():
        kind.read(value, findings.below(name))
    if findings.problems:
        raise SpecError(source="the study", problems=findings.problems)


def require_path(value: Any) -> None:
    """Refuses a path that is no text.

    Raises:
        SpecError: It is none.
    """
    if not isinstance(value, str) or not value:
        raise wrong("data", f"must be a path; found {value!r}")


def seed(value: Any) -> tuple[Any, ValueKind]:
    """Returns a seed, and what it must be."""
    return value, _SEED


def count(value: Any, low: int, high: int) -> tuple[Any, ValueKind]:
    """Returns a whole number, and what it must be."""
    return value, Whole(low, high)


def number(value: Any, low: float, high: float, *, is_open: bool = False) -> tuple[Any, ValueKind]:
    """Returns a number, and what it must be; without its bounds if ``is_open``."""
    return value, Number(low, high, is_open, is_open)


def flag(value: Any) -> tuple[Any, ValueKind]:
    """Returns a value that must be true or false."""
    return value, Flag()
