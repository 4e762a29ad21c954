"""Compiled model: a model's training pass by ``torch.compile``, or as it is where that fails."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from hpo.tracebacks import headline

logger = logging.getLogger(__name__)


class CompiledModel:
    """The training pass of a model, compiled at the first call.

    Args:
        model: The model; its parameters stay where they are.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._forward: Any = None

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Returns the model's outputs.

        Where the compiler fails, a warning says so once, and the model computes as it is.
        """
        if self._forward is None:
            self._forward = self._compile()
        try:
            return self._forward(*inputs, **named)
        except Exception as error:
            if self._forward is self._model or not is_of_compiler(error):
                raise
            self._warn(error)
            self._forward = self._model
            return self._model(*inputs, **named)

    def _compile(self) -> Any:
        try:
            return torch.compile(self._model)
        except RuntimeError as error:
            # Such as a version of Python that it does not know yet.
            self._warn(error)
            return self._model

    def _warn(self, error: Exception) -> None:
        reason = " ".join(headline(error).split("\n\n")[0].split())
        name = type(self._model).__name__
        logger.warning("torch.compile failed for %s, which trains without it: %s", name, reason)


def is_of_compiler(error: BaseException) -> bool:
    """Returns whether an exception is about compiling, and not about what the model computes."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)
