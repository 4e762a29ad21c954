"""Named metrics: an epoch's values as a framework logs them, and which of them is optimised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hpo.errors import TaskError, did_you_mean
from hpo.loops.run import Run

_RESERVED = ("epoch",)


def named_metrics(
    values: Mapping[str, Any], run: Run, monitor: str | None, others: Iterable[str] = ()
) -> dict[str, float]:
    """Returns the values to report, the one that is optimised first.

    Args:
        values: By their names.
        run: The trial, which may name its metric.
        monitor: The value that is optimised, where the run names none.
        others: Values that are hardly meant where neither names one.

    Raises:
        TaskError: The one that is optimised is not among them, or they are several and none was
            named.
    """
    numbers = {name: float(value) for name, value in values.items() if name not in _RESERVED}
    wanted = run.metric or monitor
    if wanted is None:
        candidates = [name for name in numbers if name not in set(others)]
        if len(candidates) != 1:
            raise TaskError(
                f"which of {', '.join(candidates) or 'nothing'} is optimised?",
                hint="name it: Callback(run, monitor='...')",
            )
        (wanted,) = candidates
    if wanted not in numbers:
        raise TaskError(
            f"{wanted}, which is optimised, is not among what was logged: "
            f"{', '.join(numbers) or 'nothing'}{did_you_mean(wanted, list(numbers))}"
        )
    return {wanted: numbers.pop(wanted), **numbers}
