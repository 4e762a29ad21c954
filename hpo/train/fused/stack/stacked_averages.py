"""Stacked averages: ``hpo.train.recipe.weight_averaging`` for all lanes of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpo.train.fused.kernels.lane_rows import LaneRows
from hpo.train.fused.stack.lane_state import AVERAGE, LaneState
from hpo.train.recipe.weight_averaging import mix_in, shares


@dataclass(frozen=True)
class StackedAverages:
    """What an epoch's steps add to the averages of the lanes.

    Attributes:
        pairs: Rows of averages, and the rows that they are of.
        columns: Share of each step's weights in the average, by lane: [S, K].
        steps: Whether a step has a share in any.
    """

    pairs: list[tuple[Tensor, Tensor]]
    columns: Tensor
    steps: list[bool]

    @classmethod
    def of(
        cls, rows: LaneRows, names: Sequence[str], training: Sequence[LaneState], n_steps: int
    ) -> StackedAverages:
        """Returns the averages of the lanes' next epoch.

        Args:
            rows: Of the stack.
            names: What is averaged.
            training: The lanes, in the order of the rows.
            n_steps: Of the epoch.
        """
        values = [shares(lane_state.params, lane_state.epoch, n_steps) for lane_state in training]
        pairs = [(rows[AVERAGE + name], rows[name]) for name in names]
        columns = torch.tensor(values, dtype=torch.float32).T.contiguous()
        steps = [any(column) for column in zip(*values, strict=True)]
        return cls(pairs, columns.to(pairs[0][0].device), steps)

    def mix(self, i: int) -> None:
        """Adds the weights after step ``i``."""
        if not self.steps[i]:
            return
        for average, current in self.pairs:
            share = self.columns[i].view(-1, *[1] * (current.dim() - 1))
            mix_in(average, current, share)
