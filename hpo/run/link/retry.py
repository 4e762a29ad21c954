"""Retries: calls to a database that may be away, with deadlines and growing pauses."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, ClassVar, TypeVar

from optuna.exceptions import StorageInternalError

from hpo.errors import StoreError
from hpo.store.db.database import Database

logger = logging.getLogger(__name__)
T = TypeVar("T")

DATABASE_ERRORS = (StoreError, StorageInternalError)
"""Errors of the ledger, and of Optuna's storage over it, when the database fails."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STOP_GRACE_S = 2.0
"""How long a worker that was told to leave waits for an answer."""

_POLL_S = 0.1


class Stopped(BaseException):
    """The worker was told to stop while it waited for the database.

    Not an `Exception`: it passes through user code, which may catch all of those.
    """


def backoff(draw: Callable[[float, float], float] = random.uniform) -> Iterator[float]:
    """Yields seconds between attempts: doubled each time up to a bound, and jittered.

    Jittered so that a thousand workers that lost the same server do not return at once.
    """
    longest = FIRST_PAUSE_S
    while True:
        yield draw(longest / 2, longest)
        longest = min(2 * longest, LONGEST_PAUSE_S)


def call_with_deadline(
    call: Callable[[], T], stop: threading.Event, deadline_s: float = math.inf
) -> T:
    """Makes a call in another thread, so that a server that never answers cannot block this one.

    A call that was given up on continues in its thread, to its driver's own time limit; so it must
    be safe to repeat.

    Args:
        call: Talks to the database.
        stop: Once set, the call has `STOP_GRACE_S` left.
        deadline_s: Seconds after which it is given up on.

    Raises:
        TimeoutError: There was no answer in time.
    """
    future = _CallThread.free().submit(call)
    ends_at = time.monotonic() + deadline_s
    while not wait([future], _POLL_S).done:
        if stop.is_set():
            ends_at = min(ends_at, time.monotonic() + STOP_GRACE_S)
        if time.monotonic() > ends_at and not future.done():
            raise TimeoutError("the database does not answer")
    return future.result()


def retry_while_crowded(
    db: Database,
    call: Callable[[], T],
    stop: threading.Event,
    notify: Callable[[str], None],
    deadline_s: float = math.inf,
) -> T:
    """Makes a call with a deadline, again and again while the server has no connection free.

    Args:
        db: The database; it knows which errors mean that.
        call: Safe to repeat.
        stop: Ends the waiting.
        notify: Called with why it waits, and with an empty text when it does no longer.
        deadline_s: Seconds after which a call that has its connection is given up on.

    Raises:
        StoreError: The call failed, or there was no connection when it was told to stop.
        TimeoutError: There was no answer in time.
    """
    is_waiting = False
    for pause_s in backoff():
        try:
            answer = call_with_deadline(call, stop, deadline_s)
        except DATABASE_ERRORS as error:
            if not db.is_crowded(error):
                raise
            if not is_waiting:
                logger.warning("waiting for a connection: %s", unwrapped(error))
                notify(str(unwrapped(error)))
            is_waiting = True
            if stop.wait(pause_s):
                raise
        else:
            if is_waiting:
                logger.info("there is a connection again")
                notify("")
            return answer
    raise AssertionError("pauses never end")


def retry(
    db: Database,
    call: Callable[[], T],
    stop: threading.Event,
    notify: Callable[[str], None] = lambda reason: None,
) -> T:
    """Makes a call until the database answers: for a worker that has not registered yet.

    Args:
        db: The database; it knows which errors pass.
        call: Safe to repeat.
        stop: Ends the waiting.
        notify: Called with why it waits, and with an empty text when it does no longer.

    Raises:
        Stopped: It was told to stop before there was an answer.
        StoreError: Waiting does not help.
    """
    was_away = False
    for pause_s in backoff():
        try:
            answer = call_with_deadline(call, stop)
        except DATABASE_ERRORS as error:
            if not db.is_outage(error):
                raise unwrapped(error) from error
            if not was_away:
                logger.warning("waiting for the database: %s", error)
                notify(str(unwrapped(error)))
            was_away = True
        except TimeoutError as error:
            raise Stopped from error
        else:
            if was_away:
                logger.info("the database is back")
                notify("")
            return answer
        if stop.wait(pause_s):
            raise Stopped
    raise AssertionError("pauses never end")


def unwrapped(error: BaseException) -> StoreError:
    """Returns the error with advice for the user, which Optuna's may wrap."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, StoreError):
            return link
        link = link.__cause__
    return StoreError(str(error))


class _CallThread:
    """A thread that makes calls; one that hangs is not waited for when the process ends.

    Threads are kept: starting one for each call takes longer than most calls.
    """

    _idle: ClassVar[list[_CallThread]] = []

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        threading.Thread(target=self._run, name="database", daemon=True).start()

    @classmethod
    def free(cls) -> _CallThread:
        """Returns an idle one, or starts one."""
        try:
            return cls._idle.pop()
        except IndexError:
            return cls()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Makes a call; what it returns or raises is the future's."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            try:
                answer = call()
            except BaseException as error:  # noqa: BLE001 - the caller raises it again
                self._idle.append(self)
                future.set_exception(error)
            else:
                self._idle.append(self)
                future.set_result(answer)
            # Nothing of a call may live until the next one.
            del future, call
