"""Convolutional network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.tasks.models import blocks

POOLINGS: Final[Mapping[str, Callable[[int], nn.Module]]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}
CNN_DEFAULTS: Final[Mapping[str, Any]] = {
    "depth": 2,
    "width": 16,
    "kernel_size": 3,
    "pooling": "max",
    "residual": False,
    "dropout": 0.0,
    "activation": "relu",
    "normalization": "batch",
    "initialization": "default",
}
# Images are halved down to 4 pixels, below which a 3x3 kernel sees little but the border.
_SMALLEST: Final = 4


def cnn(in_shape: tuple[int, ...], n_out: int, params: Params) -> nn.Sequential:
    """Builds a convolutional network: [B, C, H, W] to [B, n_out].

    A layer is a convolution, normalization, activation, pooling as long as the image is large
    enough, dropout. The channels are ``width`` and double with each pooling. With ``residual``,
    layers that keep the shape add their input to their output.

    Args:
        in_shape: Channels, height and width.
        n_out: Outputs of the last layer, which is linear.
        params: With everything that ``CNN_DEFAULTS`` names.

    Raises:
        TaskError: A value is impossible, or the samples are no images.
    """
    if len(in_shape) != 3:
        raise TaskError(f"a cnn takes images [C, H, W]; the samples are {list(in_shape)}")
    n_in, height, width = in_shape
    n_channels, kernel = blocks.whole("width", params.width, 1), _kernel(params.kernel_size)
    # Batch normalisation takes a bias away again, whose gradient is nothing but rounding errors.
    has_bias = params.normalization != "batch"
    layers: list[nn.Module] = []
    for _ in range(blocks.whole("depth", params.depth, 0)):
        pools = min(height, width) >= 2 * _SMALLEST
        layer = blocks.without_identity(
            nn.Conv2d(n_in, n_channels, kernel, padding=kernel // 2, bias=has_bias),
            blocks.normalization(params.normalization, n_channels, "images"),
            blocks.activation(params.activation),
            blocks.chosen("pooling", params.pooling, POOLINGS)(2) if pools else nn.Identity(),
            nn.Dropout(params.dropout),
        )
        keeps_shape = n_in == n_channels and not pools
        layers += [blocks.Residual(*layer)] if params.residual and keeps_shape else layer
        n_in = n_channels
        if pools:
            height, width, n_channels = height // 2, width // 2, 2 * n_channels
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_in * height * width, n_out))
    blocks.initialize(model, params.initialization)
    return model


def _kernel(value: Any) -> int:
    kernel = blocks.whole("kernel_size", value, 1)
    if kernel % 2 == 0:
        raise TaskError(f"kernel_size must be odd; found {kernel}")
    return kernel
