"""Transformer encoder.

Attention is written out, because PyTorch's own layers choose between kernels in ways that cannot be
batched over models, and hide their dropout rates from engines.

Shapes: B samples, T steps, F features, W the model's width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.tasks.models import blocks

TRANSFORMER_DEFAULTS: Final[Mapping[str, Any]] = {
    "depth": 2,
    "width": 64,
    "heads": 4,
    "feedforward": 2,
    "dropout": 0.0,
    "activation": "gelu",
    "normalization": "layer",
    "initialization": "default",
}
_POSITION_STD: Final = 0.02


class SelfAttention(nn.Module):
    """Multi-head self-attention: [B, T, W] to the same shape.

    Source: Vaswani et al. 2017, Attention is all you need, equation 1.

    Args:
        width: Features of a step; a multiple of ``n_heads``.
        n_heads: Number of attention heads.
        dropout: Dropout rate of the attention weights.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.inputs = blocks.Gates(width, width, 3)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the attended values of every step."""
        n, n_steps, width = x.shape
        per_head = (n, n_steps, self.n_heads, width // self.n_heads)
        queries, keys, values = (
            part.reshape(per_head).transpose(1, 2) for part in self.inputs(x).chunk(3, -1)
        )
        scores_BHTT = queries @ keys.transpose(-2, -1) / math.sqrt(per_head[-1])
        gathered = self.dropout(torch.softmax(scores_BHTT, -1)) @ values
        output: Tensor = self.output(gathered.transpose(1, 2).reshape(x.shape))
        return output


class Positions(nn.Module):
    """Learnt positional embedding, added to each step: [B, T, W]."""

    def __init__(self, n_steps: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(n_steps, width))
        nn.init.normal_(self.vectors, std=_POSITION_STD)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the steps with their positions added."""
        return x + self.vectors


class MeanOfSteps(nn.Module):
    """The mean over the steps: [B, T, W] to [B, W]."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the mean over the steps."""
        return x.mean(1)


def transformer(n_steps: int, n_in: int, n_out: int, params: Params) -> nn.Sequential:
    """Builds a Transformer encoder: [B, n_steps, n_in] to [B, n_out].

    A layer is attention, then two linear layers with an activation between; both normalise first
    and add to their input, which trains without warm-up. Source: Xiong et al. 2020, On layer
    normalization in the Transformer architecture.

    Args:
        n_steps: Length of the sequences.
        n_in: Features of a step.
        n_out: Outputs.
        params: With everything that ``TRANSFORMER_DEFAULTS`` names.

    Raises:
        TaskError: A value is impossible.
    """
    width, n_heads = blocks.whole("width", params.width, 1), blocks.whole("heads", params.heads, 1)
    if width % n_heads:
        raise TaskError(f"width must be a multiple of heads; found {width} and {n_heads}")
    layers: list[nn.Module] = [nn.Linear(n_in, width), Positions(n_steps, width)]
    for _ in range(blocks.whole("depth", params.depth, 1)):
        layers += _layer(width, n_heads, params)
    layers += blocks.without_identity(
        blocks.normalization(params.normalization, width, "sequences"), MeanOfSteps()
    )
    model = nn.Sequential(*layers, nn.Linear(width, n_out))
    blocks.initialize(model, params.initialization)
    return model


def _layer(width: int, n_heads: int, params: Params) -> list[nn.Module]:
    inner = width * blocks.whole("feedforward", params.feedforward, 1)
    attention = blocks.without_identity(
        blocks.normalization(params.normalization, width, "sequences"),
        SelfAttention(width, n_heads, params.dropout),
        nn.Dropout(params.dropout),
    )
    feedforward = blocks.without_identity(
        blocks.normalization(params.normalization, width, "sequences"),
        nn.Linear(width, inner),
        blocks.activation(params.activation),
        nn.Dropout(params.dropout),
        nn.Linear(inner, width),
        nn.Dropout(params.dropout),
    )
    return [blocks.Residual(*attention), blocks.Residual(*feedforward)]
