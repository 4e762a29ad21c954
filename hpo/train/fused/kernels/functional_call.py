"""Functional call: a model called with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from hpo.train.data.batch import Tensors, leaves
from hpo.train.fused.kernels.flat_params import own_names


class FunctionalCall:
    """A model as a function of its parameters and buffers, by their first names.

    Args:
        model: Its tensors stay as they are.
        decomposes: Shows ``vmap`` what recurrent layers are made of, for it has no rule for them
            as a whole. That takes a little longer.
    """

    def __init__(self, model: nn.Module, *, decomposes: bool = False) -> None:
        names = own_names(model)
        self._model, self._decomposes = model, decomposes
        # Each place once, though a layer may have several names: functional_call would leave
        # behind what it finds at the second.
        self._places = {
            place: names[place]
            for prefix, module in model.named_modules()
            for place in _places_in(prefix, module)
        }

    def __call__(self, values: Mapping[str, Tensor], x: Tensors) -> Tensor:
        """Returns the outputs; buffers among the values change as the model changes its own."""
        if not self._decomposes:
            return self._call(values, x)
        # The derivative is not used; it only decomposes operations.
        one = torch.ones((), device=leaves(x)[0].device)
        outputs: Tensor = grad(self._beside, has_aux=True)(one, dict(values), x)[1]
        return outputs

    def _beside(
        self, one: Tensor, values: Mapping[str, Tensor], x: Tensors
    ) -> tuple[Tensor, Tensor]:
        return one, self._call(values, x)

    def _call(self, values: Mapping[str, Tensor], x: Tensors) -> Tensor:
        given = {place: values[name] for place, name in self._places.items()}
        args, kwargs = _arguments(x)
        outputs: Tensor = functional_call(self._model, given, args, kwargs, tie_weights=False)
        for place, name in self._places.items():
            # A model may put a new tensor in the place of a buffer.
            if given[place] is not values[name]:
                values[name].copy_(given[place].detach())
        return outputs


@contextmanager
def batchable(*, has_lstm: bool) -> Iterator[None]:
    """Has PyTorch choose kernels for which ``vmap`` has rules; others it runs lane by lane.

    Args:
        has_lstm: Does without the kernels of oneDNN, of which an LSTM is one.
    """
    backends = torch.backends
    before = bool(backends.mkldnn.enabled), backends.mha.get_fastpath_enabled()
    try:
        backends.mkldnn.enabled = before[0] and not has_lstm  # type: ignore[assignment]
        backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        backends.mkldnn.enabled = before[0]  # type: ignore[assignment]
        backends.mha.set_fastpath_enabled(before[1])


def _arguments(inputs: Tensors) -> tuple[tuple[Tensors, ...], dict[str, Tensors]]:
    """Returns what a model is called with: see ``hpo.train.data.batch.call``."""
    if isinstance(inputs, tuple):
        return inputs, {}
    return ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})


def _places_in(prefix: str, module: nn.Module) -> list[str]:
    named = [
        *module.named_parameters(prefix, recurse=False, remove_duplicate=False),
        *module.named_buffers(prefix, recurse=False, remove_duplicate=False),
    ]
    return [name for name, _ in named]
