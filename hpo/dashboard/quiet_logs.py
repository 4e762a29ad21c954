"""Quiet logs: messages of libraries about requests, which hold tracebacks; only -vv shows them."""

from __future__ import annotations

import io
import logging

logger = logging.getLogger(__name__)


class Quiet(io.TextIOBase):
    """A stream for tracebacks."""

    def writable(self) -> bool:
        """Returns True."""
        return True

    def write(self, text: str) -> int:
        """Logs what is written."""
        if text.strip():
            logger.debug("%s", text.rstrip())
        return len(text)


class QuietLogs(logging.Handler):
    """Handler for the messages of optuna-dashboard."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record at the level that only -vv shows."""
        logger.debug("%s", record.getMessage().rstrip())
