"""FIFO: a scheduler that trains trials in the order of their numbers, each to the end.

Trials never pause here. The study's pruner may stop them early; see ``hpo.search.optuna.pruners``.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpo.search.base.curves import Curves
from hpo.search.base.decisions import Ask, Decision, Plan, Start
from hpo.search.base.proposers import Proposal, Proposer
from hpo.search.base.trial_status import at_targets, is_over


class FIFO:
    """Assigns every trial to the last epoch.

    Args:
        name: Of the study's pruner.
        proposer: Where new points come from.
    """

    version = "1"
    pauses = False

    def __init__(self, name: str, proposer: Proposer) -> None:
        self.name = name
        self._proposer = proposer

    def plan(self, curves: Curves, ask: Ask) -> Plan:
        """Returns new trials for all free places that the budget allows."""
        n = ask.n if ask.n_new is None else min(ask.n, ask.n_new)
        numbers = list(range(curves.next_number, curves.next_number + n))
        points, memory = self._proposer.propose(curves, numbers, ask)
        starts = tuple(
            Start(number, point, curves.horizon, {"by": self._proposer.name})
            for number, point in zip(numbers, points, strict=False)
        )
        note = {"method": self.name, "version": self.version}
        return Plan(starts, not starts and is_over(curves), note, memory)

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for new trials that got these numbers."""
        return self._proposer.propose(curves, numbers, ask)

    def judge(self, curves: Curves, numbers: Sequence[int]) -> list[Decision]:
        """Returns what becomes of running trials after an epoch."""
        return at_targets(curves, numbers)
