"""A trial's model before it has a place in a stack."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hpo.spec.space.params import Params
from hpo.train.checks.signature import Signature
from hpo.train.recipe.counter_based_dropout import Noise


@dataclass(frozen=True)
class PreparedModel:
    """A trial's model before it has a place.

    Attributes:
        fold: Of its data.
        params: With defaults filled in.
        model: Lifted, on the device, with its initial weights.
        noise: What its dropout draws from.
        signature: Of the stacks that could take it.
        batch_size: Samples that a lane of theirs computes with at once.
    """

    fold: int
    params: Params
    model: nn.Module
    noise: Noise
    signature: Signature
    batch_size: int
