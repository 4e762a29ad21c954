"""Models by name, for samples of any shape that the model accepts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.tasks.models.blocks import chosen
from hpo.tasks.models.cnn import CNN_DEFAULTS, cnn
from hpo.tasks.models.linear import LINEAR_DEFAULTS, linear
from hpo.tasks.models.mlp import MLP_DEFAULTS, mlp
from hpo.tasks.models.recurrent import RECURRENT_DEFAULTS, Cell, recurrent
from hpo.tasks.models.transformer import TRANSFORMER_DEFAULTS, transformer

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        build: Takes the shape of a sample, the number of outputs and the params.
        defaults: The params that it reads, with their default values.
    """

    build: Callable[[Shape, int, Params], nn.Module]
    defaults: Mapping[str, Any]


class ModelRows(nn.Module):
    """Images as sequences of their rows, from top to bottom: [B, C, H, W] to [B, H, C * W]."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the rows."""
        return x.movedim(-3, -2).flatten(-2)


class TwoLogits(nn.Module):
    """Converts the logit of the second class to two logits: [B, 1] to [B, 2].

    The first logit is 0. The softmax of both equals the sigmoid of the input, and their
    cross-entropy equals its binary cross-entropy.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns both logits."""
        return torch.cat([torch.zeros_like(x), x], -1)


def build(name: Any, in_shape: Shape, n_out: int, params: Params) -> nn.Module:
    """Builds a model: [B, *in_shape] to [B, n_out].

    Args:
        name: One of ``MODELS``.
        in_shape: Shape of one sample.
        n_out: Outputs.
        params: The params; missing ones take the defaults of the family.

    Raises:
        TaskError: There is no such model, it cannot take such samples, or a value is impossible.
    """
    family: Family = chosen("model", name, MODELS)
    return family.build(in_shape, n_out, params.with_defaults(family.defaults))


def build_binary(name: Any, in_shape: Shape, params: Params) -> nn.Module:
    """Builds a model of two classes with a single output: [B, *in_shape] to [B, 2].

    Raises:
        TaskError: As ``build``.
    """
    return nn.Sequential(build(name, in_shape, 1, params), TwoLogits())


def _flat(
    make: Callable[[int, int, Params], nn.Module], in_shape: Shape, n_out: int, params: Params
) -> nn.Module:
    model = make(math.prod(in_shape), n_out, params)
    return model if len(in_shape) == 1 else nn.Sequential(nn.Flatten(), model)


def _over_rows(
    make: Callable[[int, int, int, Params], nn.Module], in_shape: Shape, n_out: int, params: Params
) -> nn.Module:
    if len(in_shape) == 2:
        return make(*in_shape, n_out, params)
    if len(in_shape) == 3:
        n_channels, height, width = in_shape
        return nn.Sequential(ModelRows(), make(height, n_channels * width, n_out, params))
    raise TaskError(
        f"a model of sequences takes [T, F], or images [C, H, W]; the samples are {list(in_shape)}"
    )


def _recurrent(cell: Cell) -> Family:
    def make(n_steps: int, n_in: int, n_out: int, params: Params) -> nn.Module:
        return recurrent(cell, n_in, n_out, params)

    return Family(partial(_over_rows, make), RECURRENT_DEFAULTS)


MODELS: Final[Mapping[str, Family]] = {
    "linear": Family(partial(_flat, linear), LINEAR_DEFAULTS),
    "mlp": Family(partial(_flat, mlp), MLP_DEFAULTS),
    "cnn": Family(cnn, CNN_DEFAULTS),
    "rnn": _recurrent("rnn"),
    "gru": _recurrent("gru"),
    "lstm": _recurrent("lstm"),
    "transformer": Family(partial(_over_rows, transformer), TRANSFORMER_DEFAULTS),
}
