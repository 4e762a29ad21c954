"""Parameter layout: where the parameters of a model lie within one flat row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

# In numbers: parameters begin at addresses that vector instructions like.
_ALIGNMENT: Final = 16


@dataclass(frozen=True)
class Slot:
    """One parameter's place.

    Attributes:
        name: As in ``named_parameters``.
        begin: First number.
        shape: The parameter's.
    """

    name: str
    begin: int
    shape: torch.Size

    @property
    def end(self) -> int:
        """One past the last number."""
        return self.begin + self.shape.numel()


class ParamLayout:
    """The trainable parameters of a model as one row of float32; the rest by name.

    Args:
        model: Any of the models that the layout is for.

    Attributes:
        slots: In the order of ``named_parameters``; the gaps between them hold zeros.
        size: Length of a row.
        fixed: Frozen parameters and buffers: shape and type by name.
        names: The name that a tensor has here, by each that it has in a state dict.
    """

    def __init__(self, model: nn.Module) -> None:
        slots, begin = [], 0
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                slots.append(Slot(name, begin, parameter.shape))
                begin += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
        self.slots = tuple(slots)
        self.size = begin
        self.fixed = {name: (t.shape, t.dtype) for name, t in fixed_tensors(model).items()}
        self.names = own_names(model)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Returns each parameter of every row, [K, *shape], as a view of ``rows`` [K, size]."""
        n = len(rows)
        return {s.name: rows[:, s.begin : s.end].view(n, *s.shape) for s in self.slots}

    def flatten(self, values: Mapping[str, Tensor]) -> Tensor:
        """Returns a row [size] of one model's values, on their device."""
        first = values[self.slots[0].name]
        row = torch.zeros(self.size, dtype=torch.float32, device=first.device)
        for slot in self.slots:
            row[slot.begin : slot.end] = values[slot.name].detach().reshape(-1)
        return row

    def unflatten(self, row: Tensor) -> dict[str, Tensor]:
        """Returns copies of the parameters in a row [size]."""
        return {s.name: row[s.begin : s.end].view(s.shape).clone() for s in self.slots}


def fixed_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns what training does not step on: frozen parameters, and buffers of both kinds."""
    frozen = {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(model.named_buffers())}


def own_names(model: nn.Module) -> dict[str, str]:
    """Returns the first name of each of a model's tensors by all that it has.

    A layer or a tensor that stands in several places has as many names.
    """
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    first = {id(tensor): name for name, tensor in reversed(named)}
    return {name: first[id(tensor)] for name, tensor in named}
