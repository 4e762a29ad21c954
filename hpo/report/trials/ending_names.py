"""Ending names: the shown names of the kinds of events that end trials."""

from __future__ import annotations

_REASONS = {
    "oom": "out of memory",
    "nan": "NaN",
    "user_code": "user code",
    "internal": "internal error of hpo",
    "lost": "machine lost",
    "FAIL": "no reason given",
    "PRUNED": "no reason given",
}
"""Names of event kinds that end trials, where the shown name differs from the kind."""


def reason_name(kind: str) -> str:
    """Returns the shown name of an event kind that ends trials."""
    return _REASONS.get(kind, kind)
