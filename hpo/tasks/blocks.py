"""Models that several tasks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import nn

from hpo.errors import TaskError, did_you_mean
from hpo.spec.params import Params

ACTIVATIONS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NORMALIZATIONS: Final[Mapping[str, Callable[[int], nn.Module]]] = {
    "none": lambda width: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}
MLP_DEFAULTS: Final[Mapping[str, Any]] = {
    "depth": 2,
    "width": 64,
    "dropout": 0.0,
    "activation": "relu",
    "normalization": "none",
}
"""What ``mlp`` reads of the params, with the values that tasks give where a space does not."""


def mlp(n_in: int, n_out: int, params: Params) -> nn.Sequential:
    """Builds a multilayer perceptron: [B, n_in] to [B, n_out].

    A hidden layer is linear, normalization, activation, dropout; with depth 0 there is none.

    Args:
        n_in: Features of a sample.
        n_out: Outputs of the last layer, which is linear.
        params: With everything that ``MLP_DEFAULTS`` names.

    Raises:
        TaskError: A value is impossible.
    """
    depth, width = _whole("depth", params.depth, 0), _whole("width", params.width, 1)
    activation = _chosen("activation", params.activation, ACTIVATIONS)
    normalization = _chosen("normalization", params.normalization, NORMALIZATIONS)
    layers: list[nn.Module] = []
    for _ in range(depth):
        # Dropout stands there at rate 0 as well, so that its rate does not change the structure.
        layers += [nn.Linear(n_in, width), normalization(width), activation()]
        layers.append(nn.Dropout(params.dropout))
        n_in = width
    kept = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    return nn.Sequential(*kept, nn.Linear(n_in, n_out))


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TaskError(f"{name} must be a whole number from {least}; found {value!r}")
    return value


def _chosen(name: str, value: Any, table: Mapping[str, Any]) -> Any:
    if value not in tuple(table):
        hint = did_you_mean(value, table) if isinstance(value, str) else ""
        raise TaskError(f"{name} must be {', '.join(table)}; found {value!r}{hint}")
    return table[value]
