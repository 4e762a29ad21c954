"""Health check: one thing that was examined, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "warning", "failed", "skipped"]
DATABASE: Final = frozenset({"database", "schema", "rights", "locks", "clock"})
"""Checks without which the database cannot be used."""


@dataclass(frozen=True)
class HealthCheck:
    """The result of one check.

    Attributes:
        name: What was examined; one word that stays the same in every version.
        status: ``ok``; ``warning`` where hpo works, though less well than it could; ``failed``
            where it does not work; ``skipped`` where another check failed that this one needs.
        message: What was found, in one line.
        advice: What to do about it; empty where there is nothing to do.
    """

    name: str
    status: Status
    message: str
    advice: str = ""


def ok(name: str, message: str) -> HealthCheck:
    """Returns a check that found all well."""
    return HealthCheck(name, "ok", message)


def warning(name: str, message: str, advice: str) -> HealthCheck:
    """Returns a check that found something to improve."""
    return HealthCheck(name, "warning", message, advice)


def failed(name: str, message: str, advice: str) -> HealthCheck:
    """Returns a check that found what keeps hpo from working."""
    return HealthCheck(name, "failed", message, advice)


def skipped(name: str, message: str) -> HealthCheck:
    """Returns a check that could not be made."""
    return HealthCheck(name, "skipped", message)


def exit_code(checks: Iterable[HealthCheck]) -> int:
    """Returns 0 where no check failed, 3 where one of the database did, else 1."""
    names = {check.name for check in checks if check.status == "failed"}
    if names & DATABASE:
        return 3
    return 1 if names else 0
