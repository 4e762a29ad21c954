"""Proposer: what draws the params of new trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hpo.search.base.curves import Curves
from hpo.search.base.decisions import Ask, Note
from hpo.search.base.param_encoding import Point


class Proposal(NamedTuple):
    """Params for new trials.

    Attributes:
        points: One for each trial, fixed parameters left out; None where Optuna's sampler draws
            them when the trial begins. Fewer than asked for where no untried point is left.
        memory: As ``Plan.memory``.
    """

    points: list[Point | None]
    memory: Note


class Proposer(Protocol):
    """Draws points, given all curves."""

    name: str

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for the trials that have, or will have, these numbers."""


class SamplerProposer(Proposer):
    """A proposer that leaves the params to one of Optuna's samplers.

    Args:
        name: The sampler.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns no params: the sampler draws them when the trials begin."""
        return Proposal([None] * len(numbers), ask.memory)
