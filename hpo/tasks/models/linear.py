"""Linear model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from hpo.spec.space.params import Params
from hpo.tasks.models import blocks

LINEAR_DEFAULTS: Final[Mapping[str, Any]] = {"initialization": "default"}


def linear(n_in: int, n_out: int, params: Params) -> nn.Linear:
    """Builds linear or logistic regression, by the loss: [B, n_in] to [B, n_out].

    Raises:
        TaskError: A value is impossible.
    """
    model = nn.Linear(n_in, n_out)
    blocks.initialize(model, params.initialization)
    return model
