"""The boundary to the user's code: the one place where whatever it raises is caught."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from hpo.errors import HpoError, TaskError
from hpo.train.engine import Failure

T = TypeVar("T")

# PyTorch has an exception of its own for CUDA only; the CPU's and Apple's allocators raise a
# RuntimeError.
_OUT_OF_MEMORY = ("not enough memory", "out of memory", "can't allocate memory")


def attempt(call: Callable[[], T]) -> T | Failure:
    """Calls code of a trial.

    Returns:
        What it returns, or why the trial failed.
    """
    try:
        return call()
    except HpoError as error:
        return Failure("user_code", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends this trial only
        return failure_of(error)


@contextmanager
def user_code(doing: str) -> Iterator[None]:
    """Turns what a task's code raises outside a trial into an error for its author.

    Args:
        doing: What failed, as the error's beginning: ``"mine.py:Digits.data"``.

    Raises:
        TaskError: With the exception as its cause.
    """
    try:
        yield
    except HpoError:
        raise
    except Exception as error:
        said = f"{doing} raises {type(error).__name__}: {error}".removesuffix(": ")
        raise TaskError(said, hint=_advice(str(error))) from error


def _advice(message: str) -> str | None:
    """Returns what helps against what PyTorch says of features that are of the wrong type."""
    if "'indices'" in message and "FloatTensor" in message:
        return "for an embedding give the features as a tensor of whole numbers (torch.int64)"
    if "same dtype" in message and "Long" in message:
        return "features in a tensor of whole numbers stay such; for a layer as this use x.float()"
    if "out of meta tensor" in message:
        return "model() must create all weights anew; it uses some that an earlier call has left"
    return None


def failure_of(error: Exception) -> Failure:
    """Returns what an exception means for a trial."""
    if is_out_of_memory(error):
        return Failure("oom", str(error).partition("\n")[0] or "out of memory")
    return Failure("user_code", "".join(traceback.format_exception(error)))


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an exception says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
