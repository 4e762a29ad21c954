"""Building blocks of the ready-made models, by the names that studies use.

Everything is a plain module without state of its own in Python, so that an engine can train a
stack of models. Shapes: B samples, F features, C channels, H by W pixels, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from torch import Tensor, nn

from hpo.errors import TaskError, did_you_mean
from hpo.train.checks.size_limits import TooLargeError

Layout: TypeAlias = Literal["features", "images", "sequences"]
"""Shape of the input of a normalisation: [B, F], [B, C, H, W] or [B, T, F]."""

MOST_LAYERS: Final = 1_000
MOST_FEATURES: Final = 100_000
_MAX_GROUPS: Final = 8
_NORMAL_STD: Final = 0.05


class Residual(nn.Sequential):
    """Layers whose input is added to their output; both have the same shape.

    Source: He et al. 2016, Deep residual learning for image recognition, equation 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, ...] to the same shape."""
        changed: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + changed


class Gates(nn.Linear):
    """Several linear layers of one input, computed at once: [B, n_in] to [B, n_gates * n_out].

    Args:
        n_in: Features of the input.
        n_out: Features of each layer.
        n_gates: Number of layers; each is initialised by itself.
    """

    def __init__(self, n_in: int, n_out: int, n_gates: int) -> None:
        super().__init__(n_in, n_gates * n_out)
        self.n_gates = n_gates


class OverSteps(nn.Module):
    """Applies a normalisation of [B, F, T] to sequences [B, T, F]."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, F] to the same shape."""
        normalized: Tensor = self.inner(x.transpose(1, 2))
        return normalized.transpose(1, 2)


def _groups(n_channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(n_channels, _MAX_GROUPS), n_channels)


ACTIVATIONS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NORMALIZATIONS: Final[Mapping[str, Mapping[Layout, Callable[[int], nn.Module]]]] = {
    "none": dict.fromkeys(("features", "images", "sequences"), lambda n: nn.Identity()),
    "batch": {
        "features": nn.BatchNorm1d,
        "images": nn.BatchNorm2d,
        "sequences": lambda n: OverSteps(nn.BatchNorm1d(n)),
    },
    "layer": {
        "features": nn.LayerNorm,
        # Over channels and pixels, whatever the size of the image.
        "images": lambda n: nn.GroupNorm(1, n),
        "sequences": nn.LayerNorm,
    },
    "group": {
        "features": _groups,
        "images": _groups,
        "sequences": lambda n: OverSteps(_groups(n)),
    },
}
INITIALIZATIONS: Final[Mapping[str, Callable[[Tensor], Any] | None]] = {
    "default": None,
    "xavier": nn.init.xavier_uniform_,
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "normal": partial(nn.init.normal_, std=_NORMAL_STD),
}
"""Initialisation of weights by name.

``default`` keeps that of PyTorch, ``normal`` has a standard deviation of 0.05.

Sources: Glorot and Bengio 2010, He et al. 2015, Saxe et al. 2014."""


def activation(name: Any) -> nn.Module:
    """Makes an activation.

    Raises:
        TaskError: There is none of that name.
    """
    made: nn.Module = chosen("activation", name, ACTIVATIONS)()
    return made


def normalization(name: Any, n: int, layout: Layout) -> nn.Module:
    """Makes a normalisation of ``n`` features or channels.

    Raises:
        TaskError: There is none of that name.
    """
    made: nn.Module = chosen("normalization", name, NORMALIZATIONS)[layout](n)
    return made


def initialize(model: nn.Module, name: Any) -> None:
    """Initialises all linear and convolutional layers; their biases become 0.

    Args:
        model: Unchanged with ``default``; may be on the meta device.
        name: One of ``INITIALIZATIONS``.

    Raises:
        TaskError: There is none of that name.
    """
    draw = chosen("initialization", name, INITIALIZATIONS)
    if draw is None:
        return
    for layer in model.modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        n_gates = layer.n_gates if isinstance(layer, Gates) else 1
        for weight in layer.weight.detach().chunk(n_gates):
            draw(weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def without_identity(*layers: nn.Module) -> list[nn.Module]:
    """Returns the layers that are not ``nn.Identity``."""
    return [layer for layer in layers if not isinstance(layer, nn.Identity)]


def whole(name: str, value: Any, least: int) -> int:
    """Returns a parameter that must be a whole number.

    Raises:
        TaskError: It is none, or too small.
        TooLargeError: No machine could build so many layers or features.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TaskError(f"{name} must be a whole number from {least}; found {value!r}")
    most = MOST_LAYERS if name == "depth" else MOST_FEATURES
    if value > most:
        raise TooLargeError(f"must be at most {most:,} for a built-in model; found {value:,}", name)
    return value


def chosen(name: str, value: Any, table: Mapping[str, Any]) -> Any:
    """Returns the entry of a table that a parameter names.

    Raises:
        TaskError: There is none of that name.
    """
    if value not in tuple(table):
        hint = did_you_mean(value, table) if isinstance(value, str) else ""
        raise TaskError(f"{name} must be {', '.join(table)}; found {value!r}{hint}")
    return table[value]
