"""Size limits: models too large to be built are refused before they fill the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hpo.errors import TaskError

MOST_TENSORS: Final = 100_000
"""Weights and biases of one model; the largest networks that there are have some thousands."""


class TooLargeError(TaskError):
    """A value with which a model cannot be built on any machine.

    Args:
        message: What is too large.
        name: The parameter, if it is known.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


@contextmanager
def limited() -> Iterator[None]:
    """Stops a model in the middle of being built once it has too many weights.

    Raises:
        TooLargeError: It has.
    """
    n_tensors = 0

    def count(module: nn.Module, name: str, weight: Any) -> None:
        nonlocal n_tensors
        n_tensors += 1
        if n_tensors > MOST_TENSORS:
            raise TooLargeError(
                f"the model has more than {MOST_TENSORS:,} weights and biases, too many to train"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
