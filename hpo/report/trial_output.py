"""Trial output: what the command of a trial prints, from its file, as lines of printable text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.report.text.printable import visible
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import trials

_POLL_S: Final = 0.3
_LONGEST: Final = 10_000


def state_of(db: Database, study_id: int, number: int) -> TrialState | None:
    """Returns the state of a trial; None where the study has none of this number."""
    statement = sa.select(trials.c.state).where(
        trials.c.study_id == study_id, trials.c.number == number
    )
    with db.read() as conn:
        found: TrialState | None = conn.scalar(statement)
    return found


def lines_of(path: Path, n_last: int | None = None) -> Iterator[str]:
    """Yields the lines of an output, without what would change a terminal.

    Args:
        path: The file.
        n_last: How many of the last lines; None for all.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        lines = file if n_last is None else deque(file, maxlen=n_last)
        for line in lines:
            yield _shown(line)


def new_lines(path: Path, has_ended: Callable[[], bool]) -> Iterator[str]:
    """Yields the lines that are added to an output from now on, until its trial has ended.

    Args:
        path: The file.
        has_ended: Whether the trial has ended.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        file.seek(0, 2)
        rest = b""
        while True:
            # In this order: what was written before the end is read after it.
            is_over = has_ended()
            while chunk := file.readline():
                rest += chunk
                if rest.endswith(b"\n"):
                    yield _shown(rest)
                    rest = b""
            if is_over:
                break
            time.sleep(_POLL_S)
        if rest:
            yield _shown(rest)


def _shown(line: bytes) -> str:
    # A progress bar draws its line again; what it drew last stands.
    text = line.decode(errors="replace").rstrip("\r\n").rpartition("\r")[2]
    return visible(text[:_LONGEST])
