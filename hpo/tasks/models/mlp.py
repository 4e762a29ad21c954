"""Multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import nn

from hpo.spec.space.params import Params
from hpo.tasks.models import blocks

MLP_DEFAULTS: Final[Mapping[str, Any]] = {
    "depth": 2,
    "width": 64,
    "widths": "constant",
    "residual": False,
    "dropout": 0.0,
    "activation": "relu",
    "normalization": "none",
    "initialization": "default",
}
"""The params that ``mlp`` reads, with their defaults."""


def mlp(n_in: int, n_out: int, params: Params) -> nn.Sequential:
    """Builds a multilayer perceptron: [B, n_in] to [B, n_out].

    A hidden layer is linear, normalization, activation, dropout; with depth 0 there is none. With
    ``residual``, layers that are as wide as their input add it to their output.

    Args:
        n_in: Features of a sample.
        n_out: Outputs of the last layer, which is linear.
        params: With everything that ``MLP_DEFAULTS`` names; ``widths`` = ``free`` also reads
            ``width_1``, ``width_2`` and so on.

    Raises:
        TaskError: A value is impossible.
    """
    layers: list[nn.Module] = []
    for width in hidden_widths(n_out, params):
        layer = blocks.without_identity(
            nn.Linear(n_in, width),
            blocks.normalization(params.normalization, width, "features"),
            blocks.activation(params.activation),
            # Present at rate 0 as well, so that the rate does not change the architecture.
            nn.Dropout(params.dropout),
        )
        layers += [blocks.Residual(*layer)] if params.residual and width == n_in else layer
        n_in = width
    model = nn.Sequential(*layers, nn.Linear(n_in, n_out))
    blocks.initialize(model, params.initialization)
    return model


def hidden_widths(n_out: int, params: Params) -> list[int]:
    """Returns the width of each hidden layer, the first one first.

    Raises:
        TaskError: A value is impossible.
    """
    depth = blocks.whole("depth", params.depth, 0)
    width = blocks.whole("width", params.width, 1)
    width_of = blocks.chosen("widths", params.widths, _WIDTHS)
    return [width_of(layer, width, n_out, params) for layer in range(depth)]


def _constant(layer: int, width: int, n_out: int, params: Params) -> int:
    return width


def _funnel(layer: int, width: int, n_out: int, params: Params) -> int:
    """Halves the width from layer to layer, but not below the number of outputs."""
    return max(width >> layer, min(width, n_out))


def _free(layer: int, width: int, n_out: int, params: Params) -> int:
    name = f"width_{layer + 1}"
    return blocks.whole(name, params.get(name, width), 1)


_WIDTHS: Final[Mapping[str, Callable[[int, int, int, Params], int]]] = {
    "constant": _constant,
    "funnel": _funnel,
    "free": _free,
}
WIDTHS: Final = tuple(_WIDTHS)
"""Widths of layers: all ``width``, halved from layer to layer, or one parameter for each layer."""
