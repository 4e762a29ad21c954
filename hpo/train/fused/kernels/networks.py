"""Networks: forward and backward pass of K lanes, by stacked layers or through ``vmap``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import vmap
from typing_extensions import override

from hpo.train.data.batch import Tensors, leaves, mapped
from hpo.train.fused.kernels.functional_call import FunctionalCall, batchable
from hpo.train.fused.kernels.layers import BatchNorm, Layer, LayerNorm, Linear, layer_of
from hpo.train.fused.kernels.stacked_losses import LaneLoss
from hpo.train.recipe.counter_based_dropout import DropoutRng, LaneDropout
from hpo.train.recipe.precision import cast, full

Values = Mapping[str, Tensor]


class Network(Protocol):
    """The lanes' models as one.

    Each begins in float32; ``use`` gives it another precision. ``is_quick_alone``: a single lane
    takes no longer than the model itself does.

    ``weights`` and ``fixed`` are [K, ...] by name: what is trained, and frozen parameters and
    buffers, which a forward pass in training mode changes in place.
    """

    is_quick_alone: bool

    def train(
        self,
        weights: Values,
        fixed: Values,
        x: Tensors,
        y: Tensors,
        keys: Tensor,
        loss: LaneLoss,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Returns the losses [K] of a batch, and leaves its gradients where ``bind`` said.

        Args:
            weights: Parameters.
            fixed: The rest.
            x: Inputs of shape [K, B, ...]: a tensor, or a tuple or dict of tensors. Where lanes
                share them, they are one batch that was expanded.
            y: Targets of shape [K, B, ...], likewise.
            keys: Of each lane's step, int32, of shape [K].
            loss: Of outputs and targets.
            offsets: Samples of each lane's step that came before, int32, of shape [K]; None where
                the batch is all of it.
        """

    def bind(self, grads: Values) -> None:
        """Says where gradients go, by name: [K, ...]."""

    def use(self, precision: str) -> bool:
        """Computes in a precision from now on; returns False where it cannot."""

    def predict(self, weights: Values, fixed: Values, x: Tensors) -> Tensors:
        """Returns outputs [K, N, ...] in evaluation mode for inputs [N, ...] that lanes share."""


class Layered(Network):
    """A chain of known layers; see ``hpo.train.fused.kernels.layers``.

    Args:
        layers: In the order of the forward pass.
        dropout_rng: What dropout draws from.
    """

    is_quick_alone = True

    def __init__(self, layers: list[Layer], dropout_rng: DropoutRng) -> None:
        self._layers, self._dropout_rng = layers, dropout_rng
        self._first = next(i for i, layer in enumerate(layers) if _is_trained(layer))
        first = layers[self._first]
        if isinstance(first, Linear):
            # The gradient of the data is not needed.
            first.needs_input_gradient = False
        self._grads: Values = {}

    @classmethod
    def of(cls, model: nn.Module, dropout_rng: DropoutRng) -> Layered | None:
        """Returns the network of a model, or None if it is more than a chain of known layers."""
        layers: list[Layer] = []
        if not all(parameter.requires_grad for parameter in model.parameters()):
            return None
        if not _collect("", model, layers, {}) or not any(map(_is_trained, layers)):
            return None
        return cls(layers, dropout_rng)

    @override
    def use(self, precision: str) -> bool:
        """Its kernels are of float32, of which TF32 is a kind."""
        return precision != "bf16"

    @override
    def bind(self, grads: Values) -> None:
        self._grads = grads

    @override
    def train(
        self,
        weights: Values,
        fixed: Values,
        x: Tensors,
        y: Tensors,
        keys: Tensor,
        loss: LaneLoss,
        offsets: Tensor | None = None,
    ) -> Tensor:
        values, tape = {**weights, **fixed}, list[Any]()
        with torch.no_grad():
            self._dropout_rng.begin(keys, offsets, x.shape[1])
            for layer in self._layers:
                x = layer.forward(x, values, tape)
            losses, d = loss.with_gradient(x, y)
            for i in range(len(self._layers) - 1, self._first - 1, -1):
                d = self._layers[i].backward(d, tape.pop(), values, self._grads)
        return losses

    @override
    def predict(self, weights: Values, fixed: Values, x: Tensors) -> Tensors:
        values = {**weights, **fixed}
        n_lanes = len(next(iter(weights.values())))
        with torch.no_grad():
            x = x.unsqueeze(0).expand(n_lanes, *x.shape)
            for layer in self._layers:
                x = layer.forward(x, values, None)
        return x


class Mapped(Network):
    """Any model that ``vmap`` can take.

    Args:
        model: One of the lanes', on the device; its tensors are not used.
        dropout_rng: What its dropout draws from.
        decomposes: See ``FunctionalCall``.
    """

    is_quick_alone = False

    def __init__(
        self, model: nn.Module, dropout_rng: DropoutRng, *, decomposes: bool = False
    ) -> None:
        self._model, self._dropout_rng = model, dropout_rng
        self._call = FunctionalCall(model, decomposes=decomposes)
        self._has_lstm = any(isinstance(module, nn.LSTM) for module in model.modules())
        self._grads: Values = {}
        self._precision = "float32"
        forward, kind = self._forward, "different"
        self._train = vmap(forward, in_dims=(0, 0, 0, 0, None), randomness=kind)
        self._train_shared = vmap(forward, in_dims=(0, 0, None, 0, None), randomness=kind)
        self._train_part = vmap(forward, in_dims=(0, 0, 0, 0, 0), randomness=kind)
        self._predict = vmap(self._forward, in_dims=(0, 0, None, None, None))

    @override
    def use(self, precision: str) -> bool:
        self._precision = precision
        return True

    @override
    def bind(self, grads: Values) -> None:
        self._grads = grads

    @override
    def train(
        self,
        weights: Values,
        fixed: Values,
        x: Tensors,
        y: Tensors,
        keys: Tensor,
        loss: LaneLoss,
        offsets: Tensor | None = None,
    ) -> Tensor:
        self._model.train()
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        forward = self._train if offsets is None else self._train_part
        if offsets is None and _is_shared(x):
            # The first layers compute with one batch, not with a copy for each lane.
            forward, x = self._train_shared, mapped(lambda tensor: tensor[0].clone(), x)
        with torch.enable_grad(), batchable(has_lstm=self._has_lstm):
            with cast(self._precision, keys.device):
                outputs = forward(leaves, fixed, x, keys, offsets)
            losses = loss(full(outputs), y)
            # Lanes have nothing in common: the gradient of the sum is each one's own.
            found = torch.autograd.grad(losses.sum(), list(leaves.values()))
        torch._foreach_copy_([self._grads[name] for name in leaves], list(found))
        return losses.detach()

    @override
    def predict(self, weights: Values, fixed: Values, x: Tensors) -> Tensors:
        self._model.eval()
        forward = cast(self._precision, next(iter(weights.values())).device)
        with torch.no_grad(), batchable(has_lstm=self._has_lstm), forward:
            # A copy, because a layer that works in place would else write into the data.
            return full(self._predict(weights, fixed, mapped(torch.clone, x), None, None))

    def _forward(
        self, weights: Values, fixed: Values, x: Tensors, key: Tensor | None, offset: Tensor | None
    ) -> Any:
        if key is not None:
            self._dropout_rng.begin(key, offset, len(leaves(x)[0]))
        return self._call({**weights, **fixed}, x)


def networks_of(model: nn.Module, dropout_rng: DropoutRng) -> Iterator[Network]:
    """Yields networks for a model, the fastest first; each may turn out not to serve.

    Args:
        model: One of the lanes', lifted, on the device.
        dropout_rng: What its dropout draws from.
    """
    layered = Layered.of(model, dropout_rng)
    if layered is not None:
        yield layered
    yield Mapped(model, dropout_rng)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        yield Mapped(model, dropout_rng, decomposes=True)


def set_active(model: nn.Module, rates: Callable[[str], bool]) -> None:
    """Tells each dropout layer of a model whether any lane has a rate for it.

    Args:
        model: The stack's.
        rates: Of the layer's prefix of names.
    """
    for name, module in model.named_modules():
        if isinstance(module, LaneDropout):
            module.is_active = rates(f"{name}." if name else "")


def _collect(
    prefix: str, module: nn.Module, layers: list[Layer], seen: dict[nn.Module, str]
) -> bool:
    """Appends a module's layers; returns False where one is unknown, or trains in two places."""
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return False
    if type(module) is nn.Identity:
        return True
    if type(module) is nn.Sequential:
        # Not named_children: it names a layer once that stands in several places.
        children = module._modules.items()
        return all(
            child is not None and _collect(f"{prefix}{name}.", child, layers, seen)
            for name, child in children
        )
    # In a second place its tensors still have the names of the first.
    layer = layer_of(seen.get(module, prefix), module)
    if layer is None or (module in seen and _is_trained(layer)):
        return False
    seen.setdefault(module, prefix)
    layers.append(layer)
    return True


def _is_shared(inputs: Tensors) -> bool:
    """Returns whether inputs of shape [K, B, ...] are one batch for several lanes."""
    return all(len(tensor) > 1 and tensor.stride(0) == 0 for tensor in leaves(inputs))


def _is_trained(layer: Layer) -> bool:
    return isinstance(layer, Linear | BatchNorm | LayerNorm)
