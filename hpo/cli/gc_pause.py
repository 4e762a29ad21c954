"""Garbage collection pause: makes loading modules faster."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """Pauses garbage collection.

    Loading modules creates many objects that stay. Collections over them take a tenth of the time
    of ``hpo ls``, and a quarter of the time in which ``hpo run`` loads its modules.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
