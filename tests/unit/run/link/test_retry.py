"""Pure rules of an outage: how long to wait, when to save."""

from __future__ import annotations

import threading
import time
from itertools import islice

import pytest

from hpo.run.link.retry import LONGEST_PAUSE_S, backoff, call_with_deadline


def test_pauses_grow_to_a_bound() -> None:
    longest = list(islice(backoff(lambda low, high: high), 9))
    assert longest[:4] == [0.2, 0.4, 0.8, 1.6]
    assert longest[-2:] == [LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    shortest = list(islice(backoff(lambda low, high: low), 9))
    assert shortest == [pause / 2 for pause in longest]


def test_a_call_that_never_answers_holds_nobody() -> None:
    never, stop = threading.Event(), threading.Event()
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        call_with_deadline(never.wait, stop, deadline_s=0.2)
    assert time.monotonic() - began_s < 1.0
    never.set()


def test_what_a_call_returns_and_raises_reaches_its_caller() -> None:
    stop = threading.Event()
    assert call_with_deadline(lambda: 42, stop) == 42
    empty: dict[str, int] = {}
    with pytest.raises(KeyError):
        call_with_deadline(lambda: empty["missing"], stop)
