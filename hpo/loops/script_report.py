"""Reports of a script: one call where it has evaluated, for a script that hpo runs as a command."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from hpo.errors import TaskError
from hpo.loops.command_backend import CommandBackend

_last_epoch = int(os.environ.get("HPO_COUNTED") or 0)


def report(epoch: int | None = None, **metrics: Any) -> bool:
    """Reports an epoch of this script's training to hpo.

    Where hpo did not start the script, it does nothing.

    Args:
        epoch: Epochs that are complete, from 1; by default one more than in the last report,
            also where that was before the script was resumed.
        **metrics: Values of the epoch, by their names.

    Returns:
        Whether the script should save what it needs and end, with exit code 0: hpo then pauses or
        stops the trial. A script that trains on is ended.

    Raises:
        TaskError: A value is no number.
    """
    global _last_epoch
    _last_epoch = _last_epoch + 1 if epoch is None else epoch
    values = {}
    for name, value in metrics.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise TaskError(f"hpo.report: {name} is no number but {value!r:.200}") from None
    if "HPO_TRIAL_DIR" not in os.environ:
        return False
    return _backend().report(_last_epoch, values, None).stop


@cache
def _backend() -> CommandBackend:
    return CommandBackend()
