"""Recurrent networks: simple RNN, GRU and LSTM.

The steps are a loop over plain operations, equal to PyTorch's own layers. Those have kernels that
cannot be batched over models, so that a stack of LSTMs would run one after the other.

Shapes: B samples, T steps, F features, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.tasks.models import blocks

Cell: TypeAlias = Literal["rnn", "gru", "lstm"]
State: TypeAlias = tuple[Tensor, ...]

RECURRENT_DEFAULTS: Final[Mapping[str, Any]] = {
    "depth": 1,
    "width": 64,
    "dropout": 0.0,
    "normalization": "none",
    "initialization": "default",
}


@dataclass(frozen=True)
class _Rule:
    """One step of a cell.

    Attributes:
        n_gates: Linear layers of input and state.
        n_states: Tensors [B, H] that go from step to step; the first is the output.
        step: Takes those of input and state, both [B, n_gates * H], and the state.
    """

    n_gates: int
    n_states: int
    step: Callable[[Tensor, Tensor, State], State]


def _rnn(of_input: Tensor, of_state: Tensor, state: State) -> State:
    return (torch.tanh(of_input + of_state),)


def _gru(of_input: Tensor, of_state: Tensor, state: State) -> State:
    """Source: Cho et al. 2014, with the reset gate after the product, as in PyTorch."""
    reset_i, update_i, new_i = of_input.chunk(3, -1)
    reset_s, update_s, new_s = of_state.chunk(3, -1)
    update = torch.sigmoid(update_i + update_s)
    new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_s) * new_s)
    return (new + update * (state[0] - new),)


def _lstm(of_input: Tensor, of_state: Tensor, state: State) -> State:
    """Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    input_gate, forget_gate, new, output_gate = (of_input + of_state).chunk(4, -1)
    memory = torch.sigmoid(forget_gate) * state[1] + torch.sigmoid(input_gate) * torch.tanh(new)
    return torch.sigmoid(output_gate) * torch.tanh(memory), memory


_RULES: Final[Mapping[Cell, _Rule]] = {
    "rnn": _Rule(1, 1, _rnn),
    "gru": _Rule(3, 1, _gru),
    "lstm": _Rule(4, 2, _lstm),
}


class Recurrent(nn.Module):
    """A recurrent layer whose initial state is zero: [B, T, F] to [B, T, H].

    Args:
        cell: Kind of the cell.
        n_in: Features of a step.
        width: Hidden units.
    """

    def __init__(self, cell: Cell, n_in: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.rule = _RULES[cell]
        self.of_input = blocks.Gates(n_in, width, self.rule.n_gates)
        self.of_state = blocks.Gates(width, width, self.rule.n_gates)
        bound = 1 / math.sqrt(width)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output of every step."""
        start = x.new_zeros(x.shape[0], self.width)
        state: State = (start,) * self.rule.n_states
        outputs = []
        for of_input in self.of_input(x).unbind(1):
            state = self.rule.step(of_input, self.of_state(state[0]), state)
            outputs.append(state[0])
        return torch.stack(outputs, 1)


class LastStep(nn.Module):
    """Picks the last step: [B, T, H] to [B, H]."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output of the last step."""
        return x[:, -1]


def recurrent(cell: Cell, n_in: int, n_out: int, params: Params) -> nn.Sequential:
    """Builds a recurrent network: [B, T, n_in] to [B, n_out].

    A layer is recurrent, normalization, dropout; the last step goes into a linear layer.

    Args:
        cell: Kind of the layers.
        n_in: Features of a step.
        n_out: Outputs.
        params: With everything that ``RECURRENT_DEFAULTS`` names.

    Raises:
        TaskError: A value is impossible.
    """
    width = blocks.whole("width", params.width, 1)
    layers: list[nn.Module] = []
    for _ in range(blocks.whole("depth", params.depth, 1)):
        layers += blocks.without_identity(
            Recurrent(cell, n_in, width),
            blocks.normalization(params.normalization, width, "sequences"),
            nn.Dropout(params.dropout),
        )
        n_in = width
    model = nn.Sequential(*layers, LastStep(), nn.Linear(width, n_out))
    blocks.initialize(model, params.initialization)
    return model
