"""Dropout whose masks follow from the trial, its epoch and its step alone.

PyTorch's own dropout draws from the device's generator: a lane would depend on who draws before it,
and on the device. Here a mask is a hash of the place in the tensor and of a key, computed by the
same few kernels for one model or for many, on every device, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

N_BITS: Final = 24
# Multipliers of MurmurHash3's finalizer (Appleby 2011), and an odd number near 2**32 / the golden
# ratio to spread consecutive places.
_SPREAD: Final = 0x9E3779B9
_FIRST: Final = 0x85EBCA6B
_SECOND: Final = 0xC2B2AE35

LIFTED: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Modules that ``lift`` replaces."""


def step_keys(epoch_key: int, n_steps: int) -> NDArray[np.int32]:
    """Returns the keys of an epoch's steps, of shape [S].

    Args:
        epoch_key: Of the trial's epoch, 32 bits.
        n_steps: S.
    """
    return lane_keys([epoch_key], n_steps)[:, 0]


def lane_keys(epoch_keys: Sequence[int], n_steps: int) -> NDArray[np.int32]:
    """Returns ``step_keys`` of several trials at once, of shape [S, K].

    Args:
        epoch_keys: Of each trial's epoch, of length K.
        n_steps: S.
    """
    steps = np.arange(1, n_steps + 1, dtype=np.uint32)[:, np.newaxis]
    starts = np.array(epoch_keys, dtype=np.uint32)
    return _finalize(starts + np.uint32(_SPREAD) * steps).view(np.int32)


def keep_mask(key: Tensor | int, places: Tensor, threshold: Tensor) -> Tensor:
    """Returns which elements dropout keeps.

    Args:
        key: Of the step and the layer: int32, a scalar or of a shape that broadcasts.
        places: ``places_of`` the number of elements, in the shape of one model's.
        threshold: ``threshold_of`` the rate, of the key's shape.
    """
    return bits_of(key, places) >= threshold


def bits_of(key: Tensor | int, places: Tensor) -> Tensor:
    """Returns random bits, of which ``N_BITS`` may be set: a hash of key and place.

    Args:
        key: int32, a scalar or of a shape that broadcasts.
        places: ``places_of``.
    """
    bits = places ^ key
    # PyTorch shifts int32 with its sign. That costs the hash a bit, and none of those used below.
    bits = (bits ^ (bits >> 16)) * _signed(_FIRST)
    bits = (bits ^ (bits >> 13)) * _signed(_SECOND)
    return (bits ^ (bits >> 16)) & ((1 << N_BITS) - 1)


def threshold_of(rate: float) -> int:
    """Returns what a hash of 24 bits must reach for its element to be kept."""
    return round(rate * (1 << N_BITS))


def places_of(n: int, device: torch.device) -> Tensor:
    """Returns the places 0 to n - 1, spread over 32 bits, of shape [n]."""
    return torch.arange(n, dtype=torch.int32, device=device).mul_(_signed(_SPREAD))


class DropoutRng:
    """What the dropout layers of a model draw from.

    Attributes:
        key: Of the step, int32: a number, or a scalar tensor under ``vmap``.
    """

    def __init__(self) -> None:
        self.key: Tensor | int = 0
        self._offset: Tensor | None = None
        self._n_rows = 1
        self._n_calls = 0
        self._salts: list[int] = step_keys(0, 16).tolist()
        self._places: dict[tuple[int, torch.device], Tensor] = {}

    def begin(self, key: Tensor | int, offset: Tensor | None = None, n_rows: int = 1) -> None:
        """Starts a step: each layer that draws after it gets a mask of its own.

        Args:
            key: Of the step.
            offset: Samples of the step that came before, int32 and of the key's shape; None where
                it is taken at once.
            n_rows: Samples that come now.
        """
        self.key = key
        self._offset, self._n_rows = offset, n_rows
        self._n_calls = 0

    def layer_key(self) -> Tensor | int:
        """Returns the key of the next layer that draws."""
        if self._n_calls >= len(self._salts):
            self._salts = step_keys(0, 2 * self._n_calls).tolist()
        self.pass_over()
        return self.key ^ self._salts[self._n_calls - 1]

    def pass_over(self) -> None:
        """Leaves out the next layer, which does not draw in this step."""
        self._n_calls += 1

    def places(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Returns ``places_of`` in a shape, computed once for each number of elements."""
        n = shape.numel()
        found = self._places.get((n, device))
        if found is None:
            found = self._places[n, device] = places_of(n, device)
        return found.view(shape)

    def shift(self, shape: torch.Size) -> Tensor | None:
        """Returns what to add to ``places`` of a shape [B, ...] that is a part of a step.

        Its elements have the places that they would have in the whole of it, samples first.
        """
        if self._offset is None:
            return None
        per_row = shape.numel() // self._n_rows
        return self._offset * _signed(per_row * _SPREAD & 0xFFFFFFFF)


def mask_shape(shape: torch.Size) -> torch.Size:
    """Returns the shape of a mask for channels: [B, C, 1, ...] of [B, C, ...]."""
    return torch.Size([*shape[:2], *[1] * (len(shape) - 2)])


class LaneDropout(nn.Module):
    """``nn.Dropout`` and its feature-wise kinds, with the rate in a buffer and its own noise.

    Attributes:
        p: The rate that it was made with.
        is_active: Whether any lane has a rate above 0; elements are multiplied by 1 otherwise.
    """

    threshold: Tensor
    scale: Tensor

    def __init__(self, dropout: nn.modules.dropout._DropoutNd, dropout_rng: DropoutRng) -> None:
        super().__init__()
        self.p = dropout.p
        self.is_active = self.p > 0
        self.drops_features = not isinstance(dropout, nn.Dropout)
        self.training = dropout.training
        self.dropout_rng = dropout_rng
        # Not persistent: the model's state dict is that of the user's modules.
        threshold = torch.tensor(threshold_of(self.p), dtype=torch.int32)
        self.register_buffer("threshold", threshold, persistent=False)
        scale = torch.tensor(1 / (1 - self.p) if self.p < 1 else 0.0)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drops elements, or with feature-wise kinds whole channels of [B, C, ...]."""
        if not self.training:
            return x
        # Drawn at rate 0 too: the keys of the layers after this one must not depend on its rate.
        key = self.dropout_rng.layer_key()
        if not self.is_active:
            return x
        shape = mask_shape(x.shape) if self.drops_features else x.shape
        places, shift = self.dropout_rng.places(shape, x.device), self.dropout_rng.shift(shape)
        places = places if shift is None else places + shift
        mask = keep_mask(key, places, self.threshold)
        return x * (mask * self.scale).to(x.dtype)

    def extra_repr(self) -> str:
        """Shows the rate."""
        return f"p={self.p}"


def lift(model: nn.Module) -> DropoutRng:
    """Replaces a model's dropout layers in place; those of unknown kinds stay.

    Returns:
        What the layers draw from; ``begin`` it before each step.
    """
    made: dict[nn.Module, nn.Module] = {}
    for name, child in model._modules.items():
        model._modules[name] = child and _with_own_dropout(child, made)
    dropout_rng = DropoutRng()
    replaced: dict[nn.Module, LaneDropout] = {}
    for parent in list(model.modules()):
        # Not named_children: it names a layer once that stands in several places.
        for name, child in list(parent._modules.items()):
            if isinstance(child, LIFTED) and type(child) in LIFTED:
                if child not in replaced:
                    replaced[child] = LaneDropout(child, dropout_rng)
                setattr(parent, name, replaced[child])
    return dropout_rng


def _with_own_dropout(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    """Returns a module whose dropout no earlier model has: itself, or a copy of the same tensors.

    Frozen layers may stand in the models of several trials, whose dropout must not be one.

    Args:
        module: A part of a model.
        made: What was returned for other parts.
    """
    if module in made:
        return made[module]
    found = module
    if isinstance(module, LaneDropout):
        found = (nn.Dropout2d if module.drops_features else nn.Dropout)(module.p)
        found.train(module.training)
    else:
        old = module._modules
        new = {k: child and _with_own_dropout(child, made) for k, child in old.items()}
        if any(new[name] is not child for name, child in old.items()):
            found = copy(module)
            for name in ("_parameters", "_buffers"):
                vars(found)[name] = dict(vars(module)[name])
            vars(found)["_modules"] = new
    made[module] = found
    return found


def _finalize(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
    value = (value ^ value >> np.uint32(16)) * np.uint32(_FIRST)
    value = (value ^ value >> np.uint32(13)) * np.uint32(_SECOND)
    return value ^ value >> np.uint32(16)


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
