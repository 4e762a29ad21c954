"""Torch modes: what a training may have switched on around a question to the model.

Lightning and Transformers report from within an evaluation, where autograd is off; a script may
have made its GPU the default device. The model needs autograd, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def default_modes() -> Iterator[None]:
    """Gives a block autograd and the CPU, whatever is switched on around it."""
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            # Only where it is needed: it makes each operation slower.
            modes.enter_context(torch.device("cpu"))
        yield


def in_default_modes(function: Callable[P, T]) -> Callable[P, T]:
    """Returns the function, run in ``default_modes``."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with default_modes():
            return function(*args, **kwargs)

    return run
