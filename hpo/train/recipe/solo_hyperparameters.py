"""Solo hyperparameters: those with which a trial trains alone, not in a stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SOLO: Final[Mapping[str, Any]] = {
    "gradient_accumulation": 1,
    "compile": False,
    "channels_last": False,
}
"""Names, with the values that change nothing."""


def solo_choices(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what of a trial's params stacks do not support, as text: ``compile = true``.

    Args:
        params: With defaults filled in.
    """
    found = {name: params[name] for name, off in SOLO.items() if params.get(name, off) != off}
    if params.get("precision") == "fp16":
        found["precision"] = '"fp16"'
    return tuple(f"{name} = {str(value).lower()}" for name, value in sorted(found.items()))
