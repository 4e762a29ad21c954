"""Layers of K models at once, forward and backward, in the few kernels that they need.

Autograd would do, and does for every model that has other layers (``mapped``). For small models
on a CPU its bookkeeping and its copies cost more than the matrix products. Activations are
[K, B, ...]; gradients are written straight into the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from hpo.train.recipe.counter_based_dropout import LaneDropout, keep_mask, mask_shape

aten: Final = torch.ops.aten
Values = Mapping[str, Tensor]


class Layer(Protocol):
    """One layer of all lanes."""

    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        """Returns the layer's outputs.

        Args:
            x: Of shape [K, B, ...].
            values: Parameters and buffers [K, ...] by name.
            tape: Takes what ``backward`` needs; None in evaluation mode.
        """

    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        """Returns the gradient for the layer's inputs, and writes those of its parameters."""


class Linear(Layer):
    """``nn.Linear``."""

    def __init__(self, prefix: str, module: nn.Linear) -> None:
        self._weight = f"{prefix}weight"
        self._bias = f"{prefix}bias" if "bias" in dict(module.named_parameters()) else ""
        self.needs_input_gradient = True

    @override
    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        shape = x.shape
        # Matrix products like their rows together, and there are two of this one's inputs.
        x = x.reshape(shape[0], -1, shape[-1]).contiguous()
        weight = values[self._weight].transpose(1, 2)
        if self._bias:
            out = torch.baddbmm(values[self._bias].unsqueeze(1), x, weight)
        else:
            out = torch.bmm(x, weight)
        if tape is not None:
            tape.append((x, shape))
        return out.view(*shape[:-1], out.shape[-1])

    @override
    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        x, shape = saved
        d = d.reshape(shape[0], -1, d.shape[-1]).contiguous()
        # Not in place: PyTorch multiplies lane by lane where the results do not lie together.
        grads[self._weight].copy_(torch.bmm(d.transpose(1, 2), x))
        if self._bias:
            torch.sum(d, 1, out=grads[self._bias])
        if not self.needs_input_gradient:
            return d
        return torch.bmm(d, values[self._weight]).view(shape)


class BatchNorm(Layer):
    """``nn.BatchNorm1d`` on [B, F], with running statistics."""

    def __init__(self, prefix: str, module: nn.BatchNorm1d) -> None:
        self._names = [prefix + name for name in ("weight", "bias", "running_mean", "running_var")]
        self._count = f"{prefix}num_batches_tracked"
        self._eps, self._momentum = module.eps, float(module.momentum or 0.0)

    @override
    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        weight, bias, mean, var = (values[name] for name in self._names)
        if tape is None:
            scale = weight * (var + self._eps).rsqrt()
            return torch.addcmul((bias - mean * scale).unsqueeze(1), x, scale.unsqueeze(1))
        _, n_rows, _ = x.shape
        if n_rows == 1:
            raise ValueError("batch normalization cannot train on batches of one sample")
        middle = _mean(x)
        centered = x - middle
        out = centered * centered
        spread = _mean(out)
        rstd = (spread + self._eps).rsqrt_()
        scale = weight.unsqueeze(1) * rstd
        torch.addcmul(bias.unsqueeze(1), centered, scale, out=out)
        unbiased = spread.mul_(n_rows / (n_rows - 1))
        mean.lerp_(middle.squeeze(1), self._momentum)
        var.lerp_(unbiased.squeeze(1), self._momentum)
        values[self._count].add_(1)
        tape.append((centered, rstd, scale))
        return out

    @override
    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        centered, rstd, scale = saved
        n_rows, part = d.shape[1], d * centered
        of_bias, of_weight = _mean(d), _mean(part).mul_(rstd)
        torch.mul(of_weight.squeeze(1), n_rows, out=grads[self._names[0]])
        torch.mul(of_bias.squeeze(1), n_rows, out=grads[self._names[1]])
        # What the batch's own mean and variance take away.
        torch.addcmul(of_bias, centered, of_weight.mul_(rstd), out=part)
        return torch.sub(d, part, out=part).mul_(scale)


class LayerNorm(Layer):
    """``nn.LayerNorm`` over the last dimension."""

    def __init__(self, prefix: str, module: nn.LayerNorm) -> None:
        self._shape, self._eps = list(module.normalized_shape), module.eps
        self._weight, self._bias = f"{prefix}weight", f"{prefix}bias"

    @override
    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        normal, mean, rstd = aten.native_layer_norm(x, self._shape, None, None, self._eps)
        if tape is not None:
            tape.append((x, normal, mean, rstd))
        return torch.addcmul(_over(values[self._bias], x), normal, _over(values[self._weight], x))

    @override
    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        x, normal, mean, rstd = saved
        rows = tuple(range(1, x.dim() - 1))
        torch.sum(d * normal, rows, out=grads[self._weight])
        torch.sum(d, rows, out=grads[self._bias])
        d = d * _over(values[self._weight], x)
        inner: Tensor = aten.native_layer_norm_backward(
            d, x, self._shape, mean, rstd, None, None, [True, False, False]
        )[0]
        return inner


class Activation(Layer):
    """An elementwise function, by PyTorch's own kernels.

    Args:
        forward: Of x.
        backward: Of the gradient, x and the output.
    """

    def __init__(
        self, forward: Callable[[Tensor], Tensor], backward: Callable[..., Tensor]
    ) -> None:
        self._forward, self._backward = forward, backward

    @override
    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        y = self._forward(x)
        if tape is not None:
            tape.append((x, y))
        return y

    @override
    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        return self._backward(d, *saved)


class Dropout(Layer):
    """Lifted dropout; the mask is that of each lane alone."""

    def __init__(self, prefix: str, module: LaneDropout) -> None:
        self._module = module
        self._threshold, self._scale = f"{prefix}threshold", f"{prefix}scale"

    @override
    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        if tape is None:
            return x
        dropout_rng = self._module.dropout_rng
        if not self._module.is_active:
            dropout_rng.pass_over()
            tape.append(None)
            return x
        shape = x.shape[1:]
        shape = mask_shape(shape) if self._module.drops_features else shape
        lanes = (-1, *[1] * len(shape))
        key = dropout_rng.layer_key()
        assert isinstance(key, Tensor)
        places, shift = dropout_rng.places(shape, x.device).unsqueeze(0), dropout_rng.shift(shape)
        places = places if shift is None else places + shift.view(lanes)
        mask = keep_mask(key.view(lanes), places, values[self._threshold].view(lanes))
        scaled = mask * values[self._scale].view(lanes)
        tape.append(scaled)
        return x * scaled

    @override
    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        return d if saved is None else d * saved


class Flatten(Layer):
    """``nn.Flatten`` to [B, F]."""

    @override
    def forward(self, x: Tensor, values: Values, tape: list[Any] | None) -> Tensor:
        if tape is not None:
            tape.append(x.shape)
        return x.reshape(*x.shape[:2], -1)

    @override
    def backward(self, d: Tensor, saved: Any, values: Values, grads: Values) -> Tensor:
        return d.reshape(saved)


# Exactly these: a subclass may compute something else.
_KNOWN: Final = frozenset(
    {
        nn.Linear,
        nn.BatchNorm1d,
        nn.LayerNorm,
        LaneDropout,
        nn.Flatten,
        nn.ReLU,
        nn.Tanh,
        nn.Sigmoid,
        nn.SiLU,
        nn.GELU,
    }
)


def layer_of(prefix: str, module: nn.Module) -> Layer | None:
    """Returns the stacked layer for a module, or None where there is none.

    Args:
        prefix: Of the module's tensors' names: ``0.``.
        module: Of a model whose dropout was lifted.
    """
    if type(module) not in _KNOWN:
        return None
    match module:
        case nn.Linear():
            return Linear(prefix, module)
        case nn.BatchNorm1d() if _is_standard(module):
            return BatchNorm(prefix, module)
        case nn.LayerNorm() if len(module.normalized_shape) == 1 and module.bias is not None:
            return LayerNorm(prefix, module)
        case LaneDropout():
            return Dropout(prefix, module)
        case nn.Flatten() if (module.start_dim, module.end_dim) == (1, -1):
            return Flatten()
    return _activation(module)


def _activation(module: nn.Module) -> Layer | None:
    match module:
        case nn.ReLU():
            return Activation(torch.relu, lambda d, x, y: aten.threshold_backward(d, y, 0))
        case nn.Tanh():
            return Activation(torch.tanh, lambda d, x, y: aten.tanh_backward(d, y))
        case nn.Sigmoid():
            return Activation(torch.sigmoid, lambda d, x, y: aten.sigmoid_backward(d, y))
        case nn.SiLU():
            return Activation(nn.functional.silu, lambda d, x, y: aten.silu_backward(d, x))
        case nn.GELU(approximate=kind):
            return Activation(
                lambda x: nn.functional.gelu(x, approximate=kind),
                lambda d, x, y: aten.gelu_backward(d, x, approximate=kind),
            )
    return None


def _is_standard(module: nn.BatchNorm1d) -> bool:
    has_all = module.affine and module.track_running_stats
    return has_all and module.momentum is not None


def _mean(x: Tensor) -> Tensor:
    """Returns the mean over the samples of [K, B, F], as [K, 1, F]."""
    if x.device.type != "cpu":
        return x.mean(1, keepdim=True)
    # A CPU multiplies faster than it adds up.
    n_lanes, n_rows, _ = x.shape
    return torch.bmm(x.new_full((1, 1, n_rows), 1.0 / n_rows).expand(n_lanes, 1, n_rows), x)


def _over(value: Tensor, x: Tensor) -> Tensor:
    """Returns [K, F] so that it broadcasts over x [K, ..., F]."""
    return value.view(len(value), *[1] * (x.dim() - 2), -1)
