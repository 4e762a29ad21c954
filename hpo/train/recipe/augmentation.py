"""Changes of the training samples, drawn anew for each step, on the device.

Like dropout's masks, all numbers are hashes of the trial's seed, epoch, step and the place in the
batch: a lane of a stack sees what its trial alone would see. Shapes: K lanes, B samples, S steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from hpo.train.recipe.counter_based_dropout import N_BITS, bits_of, places_of, step_keys
from hpo.train.recipe.random_streams import derive

AUGMENTATIONS: Final[Mapping[str, int]] = {
    "augment_shift": 2,
    "augment_flip": 3,
    "augment_cutout": 2,
    "augment_noise": 1,
    "mixup": 1,
}
"""Names, in the order in which they are applied, with the axes that a sample needs at least."""

_SALTS: Final[list[int]] = step_keys(1, 7).tolist()
_NOISE, _SHIFT, _FLIP, _CUTOUT = (0, 1), (2, 3), 4, (5, 6)


def n_axes(x: Tensor) -> int:
    """Returns the axes of one sample of ``x`` [N, ...]; 0 where the values are no quantities."""
    return x.dim() - 1 if x.is_floating_point() else 0


def names_for(axes: int) -> tuple[str, ...]:
    """Returns the augmentations for samples of so many axes.

    Sequences [T, F] are shifted and cut in time, images [C, H, W] in both directions.
    """
    return tuple(name for name, least in AUGMENTATIONS.items() if axes >= least)


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of the samples of K lanes in one epoch.

    Attributes:
        strengths: Of each lane, of shape [K]; only of what some lane does.
        keys: Of the steps' random numbers, int32, of shape [S, K].
        shares: Of a sample in its mixture with another, of shape [S, K]; None without mixup.
    """

    strengths: Mapping[str, Tensor]
    keys: Tensor
    shares: Tensor | None

    @classmethod
    def of(
        cls,
        params: Sequence[Mapping[str, Any]],
        seeds: Sequence[int],
        epochs: Sequence[int],
        keys: Tensor,
        x: Tensor,
    ) -> Augmentation | None:
        """Returns the augmentation of an epoch; None where no lane has any.

        Args:
            params: Of each lane.
            seeds: Of each lane.
            epochs: Epochs that each lane has completed.
            keys: Of the steps, of shape [S, K], on the device.
            x: All samples.
        """
        values = {
            name: [float(one.get(name, 0.0)) for one in params] for name in names_for(n_axes(x))
        }
        active = {name: each for name, each in values.items() if any(each)}
        if not active:
            return None
        alphas, shares = active.pop("mixup", None), None
        if alphas:
            lanes = zip(alphas, seeds, epochs, strict=True)
            columns = [_shares(alpha, seed, epoch, len(keys)) for alpha, seed, epoch in lanes]
            shares = torch.tensor(np.stack(columns, axis=1), dtype=torch.float32).to(x.device)
        strengths = {name: torch.tensor(each, device=x.device) for name, each in active.items()}
        return cls(strengths, keys, shares)

    def inputs(self, i: int, x: Tensor) -> Tensor:
        """Returns the samples of step ``i``, of shape [K, B, ...], as models see them."""
        return self.apply(x, self.keys[i], None if self.shares is None else self.shares[i])

    def apply(self, x: Tensor, key: Tensor, share: Tensor | None) -> Tensor:
        """Returns the samples of a step, of shape [K, B, ...], as models see them.

        Args:
            x: The samples.
            key: Of the step, of shape [K].
            share: Of a sample in its mixture, of shape [K]; None without mixup.
        """
        for name, strength in self.strengths.items():
            x = _APPLY[name](x, strength, key)
        if share is not None:
            x = torch.lerp(partners(x), x, share.view(-1, *[1] * (x.dim() - 1)))
        return x


def partners(values: Tensor) -> Tensor:
    """Returns what mixup mixes each sample of [K, B, ...] with: its neighbour in the batch."""
    return values.roll(1, dims=1)


def _shares(alpha: float, seed: int, epoch: int, n_steps: int) -> Any:
    """Returns each step's share, drawn from Beta(alpha, alpha).

    Source: Zhang et al. 2018, mixup: Beyond empirical risk minimization.
    """
    if not alpha:
        return np.ones(n_steps)
    # RandomState, because NumPy promises that its numbers stay the same in future versions.
    return np.random.RandomState(derive(seed, "mixup", epoch)).beta(alpha, alpha, n_steps)


def _uniform(key: Tensor, salt: int, shape: tuple[int, ...]) -> Tensor:
    """Returns numbers from 0 to below 1, of shape [K, *shape]."""
    places = places_of(math.prod(shape), key.device).view(shape)
    bits = bits_of((key ^ _SALTS[salt]).view(-1, *[1] * len(shape)), places)
    return bits.float() / (1 << N_BITS)


def _noise(x: Tensor, deviation: Tensor, key: Tensor) -> Tensor:
    """Adds normal noise. Source: Box and Muller 1958, A note on the generation of deviates."""
    first, second = (_uniform(key, salt, tuple(x.shape[1:])) for salt in _NOISE)
    normal = (-2 * (1 - first).log()).sqrt() * (2 * torch.pi * second).cos()
    return x + normal * deviation.view(-1, *[1] * (x.dim() - 1))


def _shift(x: Tensor, share: Tensor, key: Tensor) -> Tensor:
    """Moves samples by up to a share of their size, with zeros for what comes in."""
    for axis, salt in zip(_axes(x), _SHIFT, strict=False):
        n = x.shape[axis]
        most = (share * n).round().unsqueeze(1)
        offset = (_uniform(key, salt, (x.shape[1],)) * (2 * most + 1)).floor() - most
        source = torch.arange(n, device=x.device) - offset.long().unsqueeze(-1)
        view = [*x.shape[:2], *[1] * (x.dim() - 2)]
        view[axis] = n
        index, is_inside = source.clamp(0, n - 1).view(view), (source >= 0) & (source < n)
        x = x.gather(axis, index.expand_as(x)) * is_inside.view(view).to(x.dtype)
    return x


def _flip(x: Tensor, chance: Tensor, key: Tensor) -> Tensor:
    """Mirrors images, left for right, with a probability."""
    is_flipped = _uniform(key, _FLIP, (x.shape[1],)) < chance.unsqueeze(1)
    return torch.where(is_flipped.view(*x.shape[:2], *[1] * (x.dim() - 2)), x.flip(-1), x)


def _cutout(x: Tensor, share: Tensor, key: Tensor) -> Tensor:
    """Sets a square at a random place to 0, whose sides are a share of the sample's.

    Source: DeVries and Taylor 2017, Improved regularization of convolutional neural networks with
    cutout: parts of the square may lie outside.
    """
    is_cut = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, salt in zip(_axes(x), _CUTOUT, strict=False):
        n = x.shape[axis]
        side = (share * n).round().unsqueeze(1)
        begin = (_uniform(key, salt, (x.shape[1],)) * n).floor() - (side / 2).floor()
        places = torch.arange(n, device=x.device) - begin.unsqueeze(-1)
        view = [*x.shape[:2], *[1] * (x.dim() - 2)]
        view[axis] = n
        is_cut = is_cut & ((places >= 0) & (places < side.unsqueeze(-1))).view(view)
    return x.masked_fill(is_cut, 0.0)


def _axes(x: Tensor) -> tuple[int, ...]:
    """Returns the axes of [K, B, ...] that are space or time."""
    return (2,) if x.dim() == 4 else (x.dim() - 2, x.dim() - 1)


_APPLY: Final = {
    "augment_shift": _shift,
    "augment_flip": _flip,
    "augment_cutout": _cutout,
    "augment_noise": _noise,
}
