"""Whether stacked models compute what one alone does: tools of the probes before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

# Gradients may differ from autograd's by rounding only.
_RELATIVE: Final = 1e-3
_ABSOLUTE: Final = 1e-5


def are_close(found: Tensor, expected: Tensor) -> bool:
    """Tells whether all lanes of ``found`` [K, ...] are as expected [...]."""
    if not expected.numel():
        return True
    # A lane whose first step diverges says nothing against its stack.
    scale = 1 + float(expected.nan_to_num(0, 0, 0).abs().max())
    expected = expected.expand_as(found)
    return torch.allclose(found, expected, _RELATIVE, _ABSOLUTE * scale, equal_nan=True)


def repeated(values: Mapping[str, Tensor], n_lanes: int) -> dict[str, Tensor]:
    """Returns copies of one model's tensors for so many lanes, [K, ...]."""
    return {
        name: t.detach().unsqueeze(0).repeat(n_lanes, *[1] * t.dim()) for name, t in values.items()
    }
