"""Trial log: the lines of a worker's log that say which trials the worker holds, and since when.

`hpo logs` finds a trial's part of a log by them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from hpo.store.ledger.leases import Lease, Outcome

logger = logging.getLogger(__name__)
_STAMP: Final = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
_LINE: Final = re.compile(
    rb"(?P<stamp>" + _STAMP + rb") [A-Z]+ hpo\.run\.(?:link\.trial_log|trials\.task_executor): "
    rb"(?:trial (?P<number>\d+) (?P<what>begins|is resumed|ends|failed)\b"
    rb"|(?P<lost>lost the lease of) trial (?P<lost_number>\d+)"
    rb"|(?P<worker>worker \d+ begins))"
)
STAMP: Final = re.compile(_STAMP)
"""The time at the start of each line that `logging` has written."""


class Mark(NamedTuple):
    """What such a line says.

    Attributes:
        kind: ``begins`` and ``ends`` are of a trial; ``failed`` stands before its ``ends`` and the
            traceback; ``worker`` is a process that begins, and holds none.
        number: Of the trial; None for a worker.
    """

    kind: str
    number: int | None


def mark_of(line: bytes) -> Mark | None:
    """Returns what a line of a worker's log says of trials; None for any other line."""
    found = _LINE.match(line)
    if found is None:
        return None
    if found["worker"]:
        return Mark("worker", None)
    if found["lost"]:
        return Mark("ends", int(found["lost_number"]))
    kind = {b"is resumed": "begins"}.get(found["what"], found["what"].decode())
    return Mark(kind, int(found["number"]))


class TrialLog:
    """Writes these lines, each with the number of the trial."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def start(self, worker_id: int) -> None:
        """Notes that a worker begins: what one before it held in the same log is over."""
        logger.info("worker %d begins", worker_id)

    def begin(self, leases: Iterable[Lease]) -> None:
        """Notes trials that the worker holds from now on."""
        for lease in leases:
            what = f"is resumed at epoch {lease.epoch}" if lease.epoch else "begins"
            attempt = f", attempt {lease.attempt}" if lease.attempt > 1 else ""
            stop = f", up to epoch {lease.epoch_stop}" if lease.epoch_stop else ""
            logger.info("trial %d %s%s%s", lease.number, what, stop, attempt)
            self._numbers[lease.trial_id] = lease.number

    def end(self, outcomes: Iterable[Outcome]) -> None:
        """Notes how trials have ended or were handed back; of a failure, the message in full."""
        for outcome in outcomes:
            number = self._numbers.pop(outcome.trial_id, None)
            if number is None:
                continue
            if outcome.state == "failed":
                message = outcome.message.rstrip()
                logger.warning("trial %d failed: %s\n%s", number, outcome.reason, message)
            reason = f", {outcome.reason}" if outcome.reason not in ("", outcome.state) else ""
            logger.info(
                "trial %d ends: %s%s at epoch %d", number, outcome.state, reason, outcome.epoch
            )
