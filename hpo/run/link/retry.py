"""Calls to a database that may be away: when to give up on an answer, and when to ask again."""

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
"""What our verbs, and Optuna's storage over them, raise when the database fails."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
PARTING_S = 2.0
"""How long a worker that was told to leave waits for an answer."""

_LOOK_S = 0.1


class Stopped(BaseException):
    """The worker was told to stop while it waited for the database.

    Not an `Exception`: it passes through user code, which may catch all of those.
    """


def pauses(draw: Callable[[float, float], float] = random.uniform) -> Iterator[float]:
    """Yields seconds between attempts: doubled each time up to a bound, and jittered.

    Jittered because a thousand workers that lost the same server shall not return as one.
    """
    longest = FIRST_PAUSE_S
    while True:
        yield draw(longest / 2, longest)
        longest = min(2 * longest, LONGEST_PAUSE_S)


def aside(call: Callable[[], T], stop: threading.Event, deadline_s: float = math.inf) -> T:
    """Makes a call in another thread, so that a server that never answers holds nobody.

    A call that was given up on goes on by itself, to its driver's own time limit; so it must be
    safe to repeat.

    Args:
        call: Talks to the database.
        stop: Once set, the call has `PARTING_S` left.
        deadline_s: Seconds after which it is given up on.

    Raises:
        TimeoutError: There was no answer in time.
    """
    future = _Caller.free().take(call)
    ends_at = time.monotonic() + deadline_s
    while not wait([future], _LOOK_S).done:
        if stop.is_set():
            ends_at = min(ends_at, time.monotonic() + PARTING_S)
        if time.monotonic() > ends_at and not future.done():
            raise TimeoutError("the database does not answer")
    return future.result()


def connected(
    db: Database,
    call: Callable[[], T],
    stop: threading.Event,
    tell: Callable[[str], None],
    deadline_s: float = math.inf,
) -> T:
    """Makes a call as `aside` does, again and again as long as there is no connection for it.

    Args:
        db: The database; it knows which errors mean that.
        call: Safe to repeat.
        stop: Ends the waiting.
        tell: Called with why it waits, and with an empty text when it does no longer.
        deadline_s: Seconds after which a call that has its connection is given up on.

    Raises:
        StoreError: The call failed, or there was no connection when it was told to stop.
        TimeoutError: There was no answer in time.
    """
    is_waiting = False
    for pause_s in pauses():
        try:
            answer = aside(call, stop, deadline_s)
        except DATABASE_ERRORS as error:
            if not db.is_crowded(error):
                raise
            if not is_waiting:
                logger.warning("waiting for a connection: %s", plain(error))
                tell(str(plain(error)))
            is_waiting = True
            if stop.wait(pause_s):
                raise
        else:
            if is_waiting:
                logger.info("there is a connection again")
                tell("")
            return answer
    raise AssertionError("pauses never end")


def through_outage(
    db: Database,
    call: Callable[[], T],
    stop: threading.Event,
    tell: Callable[[str], None] = lambda why: None,
) -> T:
    """Calls until the database answers: for a worker that has not begun yet.

    Args:
        db: The database; it knows which errors pass.
        call: Safe to repeat.
        stop: Ends the waiting.
        tell: Called with why it waits, and with an empty text when it does no longer.

    Raises:
        Stopped: It was told to stop before there was an answer.
        StoreError: No waiting mends this.
    """
    was_away = False
    for pause_s in pauses():
        try:
            answer = aside(call, stop)
        except DATABASE_ERRORS as error:
            if not db.is_outage(error):
                raise plain(error) from error
            if not was_away:
                logger.warning("waiting for the database: %s", error)
                tell(str(plain(error)))
            was_away = True
        except TimeoutError as error:
            raise Stopped from error
        else:
            if was_away:
                logger.info("the database is back")
                tell("")
            return answer
        if stop.wait(pause_s):
            raise Stopped
    raise AssertionError("pauses never end")


def plain(error: BaseException) -> StoreError:
    """Returns the error that tells the user what to do, which Optuna's may wrap."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, StoreError):
            return link
        link = link.__cause__
    return StoreError(str(error))


class _Caller:
    """A thread that makes calls; one that hangs is not waited for when the process ends.

    Threads are kept: starting one for each call takes longer than most calls.
    """

    _idle: ClassVar[list[_Caller]] = []

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        threading.Thread(target=self._run, name="database", daemon=True).start()

    @classmethod
    def free(cls) -> _Caller:
        """Returns one that has nothing to do."""
        try:
            return cls._idle.pop()
        except IndexError:
            return cls()

    def take(self, call: Callable[[], T]) -> Future[T]:
        """Makes a call; what it returns or raises is the future's."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            try:
                answer = call()
            except BaseException as error:  # noqa: BLE001 - whoever waits raises it again
                self._idle.append(self)
                future.set_exception(error)
            else:
                self._idle.append(self)
                future.set_result(answer)
            # Nothing of a call shall live until the next one.
            del future, call
