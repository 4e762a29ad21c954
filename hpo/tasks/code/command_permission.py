"""Command permission: which commands of a study may run on this machine."""

from __future__ import annotations

import shlex

from hpo.errors import TaskError
from hpo.tasks.code.resolve import Allow


def permits_command(command: str, allow: Allow) -> bool:
    """Returns whether a command may run: its exact text is allowed, or everything is.

    References of tasks are patterns, but a pattern would allow commands that nobody has read.
    """
    return allow.everything or command in allow.patterns or "*" in allow.patterns


def require_command(command: str, allow: Allow) -> None:
    """Refuses a command that this machine's user has neither given nor allowed.

    Raises:
        TaskError: It may not run here; the hint has the option that allows it.
    """
    if permits_command(command, allow):
        return
    raise TaskError(
        f"the command {shlex.quote(command)} may not run here: a command that a database names "
        "runs only if it was given on this machine too",
        hint=f"allow it with --allow {shlex.quote(command)}; it runs in the current folder",
    )
