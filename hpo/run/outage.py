"""Waiting for a database that is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import tenacity

from hpo.store.database import Database

logger = logging.getLogger(__name__)
T = TypeVar("T")
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


def through_outage(db: Database, call: Callable[[], T], stop: threading.Event) -> T:
    """Calls until the database answers; gives up only for errors that no waiting mends.

    Args:
        db: The database; it knows which errors pass.
        call: Safe to repeat, as every verb of the ledger is.
        stop: Once set, the error is raised instead of waited out.
    """

    def sleep(seconds: float) -> None:
        stop.wait(seconds)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: db.is_outage(error) and not stop.is_set()),
        wait=tenacity.wait_random_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S),
        sleep=sleep,
        before_sleep=_tell,
        reraise=True,
    )
    return retrying(call)


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    logger.warning("the database is away (%s); trying again in %.1f s", error, pause_s)
