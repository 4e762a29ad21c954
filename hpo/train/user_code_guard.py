"""User-code guard: the one place where whatever it raises is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from hpo.errors import HpoError, InternalError, TaskError
from hpo.tracebacks import headline, internal, is_internal, report_of, text_of, user_place_of
from hpo.train.engine import Failure

T = TypeVar("T")

_ON_DEVICE = (
    "keep tensors of a model by register_buffer(), and make new ones with device=x.device; hpo "
    "moves the model to the device"
)
# PyTorch has an exception of its own for CUDA only; the CPU's and Apple's allocators raise a
# RuntimeError.
_ADVICE = (
    ("device type tensor to numpy", "outputs and targets are on the device; use .cpu().numpy()"),
    ("call numpy() on Tensor that requires grad", "use .detach().cpu().numpy(), not in loss()"),
    (
        "modified by an inplace operation",
        "replace the model's operations that change a tensor in place, such as x += y, x.relu_() "
        "or inplace=True, by those that return a new one",
    ),
    ("is not on the expected device", _ON_DEVICE),
    ("to be on the same device", _ON_DEVICE),
)
_OUT_OF_MEMORY = ("not enough memory", "out of memory", "can't allocate memory")


def attempt(call: Callable[[], T]) -> T | Failure:
    """Calls code of a trial.

    Returns:
        What it returns, or why the trial failed.

    Raises:
        KeyboardInterrupt: The process is to end.
    """
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this trial only
        return failure_of(error)


@contextmanager
def user_code(doing: str) -> Iterator[None]:
    """Turns what a task's code raises outside a trial into an error for its author.

    Args:
        doing: What failed, as the error's beginning: ``"mine.py:Digits.data"``.

    Raises:
        TaskError: With the exception as its cause.
        InternalError: It is a fault of hpo's own.
    """
    try:
        yield
    except (HpoError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if is_internal(error):
            raise InternalError(internal(f"{doing} failed", error)) from error
        help_, place = advice(text_of(error)), user_place_of(error)
        hint = f"{place}: {help_}" if help_ and place else help_
        raise TaskError(f"{doing} raises {headline(error)}", hint=hint) from error


def advice(message: str) -> str | None:
    """Returns what helps against what PyTorch says of features that are of the wrong type."""
    if "'indices'" in message and "FloatTensor" in message:
        return "for an embedding give the features as a tensor of whole numbers (torch.int64)"
    if "same dtype" in message and "Long" in message:
        return "features in a tensor of whole numbers stay such; for a layer as this use x.float()"
    if "out of meta tensor" in message:
        return "model() must create all weights anew; it uses some that an earlier call has left"
    return next((help_ for words, help_ in _ADVICE if words in message), None)


def failure_of(error: BaseException) -> Failure:
    """Returns what an exception means for a trial."""
    if is_out_of_memory(error) or (error.__cause__ and is_out_of_memory(error.__cause__)):
        return Failure("oom", text_of(error).partition("\n")[0] or "out of memory")
    if is_internal(error):
        return Failure("internal", report_of(error))
    # The message of these is for the author of the task; where hpo raises it says nothing more.
    if isinstance(error, HpoError):
        return Failure("user_code", text_of(error))
    return Failure("user_code", _advised(error))


def _advised(error: BaseException) -> str:
    """Returns the traceback; its last line names the user's place where there is advice."""
    report, help_ = report_of(error), advice(text_of(error))
    if help_ is None:
        return report
    place = user_place_of(error)
    return f"{report.rstrip()} ({place + ': ' if place else ''}{help_})\n"


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = text_of(error).lower()
    return any(words in text for words in _OUT_OF_MEMORY)


def found_instead(value: Any) -> str:
    """Says what was found in the place of something else."""
    return "nothing (is a return missing?)" if value is None else type(value).__name__
