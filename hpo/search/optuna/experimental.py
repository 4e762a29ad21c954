"""Optuna's experimental parts, without a warning at every use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import ExperimentalWarning


@contextmanager
def quietly() -> Iterator[None]:
    """Leaves out the warning that a part may change: the version of Optuna is pinned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
