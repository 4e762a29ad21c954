"""Sampler assigner: trials as the ledger has them, and params as the sampler draws them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from hpo.run.assignment.assigner import AWAY, Assigner
from hpo.run.assignment.early_stopping import claim_call
from hpo.run.assignment.structure_first import StructureFirst
from hpo.run.link.context import WorkerContext
from hpo.spec.space.params import Params
from hpo.store.ledger.leases import Claim, Lease


class SamplerAssigner(Assigner):
    """Assigns trials one after another, each to its last epoch.

    Args:
        context: The study, its ledger and its search.
        structure_first: Makes new trials share their structure; None where each trains alone.
        at_once: How many trials to claim at most, once there is room for half a stack; None for
            as many as fit. Others may want some, too.
    """

    pauses = False

    def __init__(
        self,
        context: WorkerContext,
        structure_first: StructureFirst | None = None,
        at_once: int | None = None,
    ) -> None:
        self._context = context
        self._structure_first = structure_first
        self._at_once = at_once

    def wanted(self, n_free: int, n_held: int) -> int:
        """Returns how many trials to claim: as many as fit, or those of one structure."""
        if self._at_once is not None:
            return min(n_free, self._at_once) if n_free >= n_held else 0
        if self._structure_first is None:
            return n_free
        return self._structure_first.n_wanted(n_free, n_held)

    def claim(self, n: int, held: Collection[int], at_stop: Sequence[Lease] = ()) -> Claim:
        """Claims whatever comes next; none of its trials is ever at its stop."""
        client, call = self._context.client, claim_call(self._context, n, held)
        return client.try_call(call, AWAY) if held else client.call(call)

    def to_pause(self, values: Mapping[int, tuple[Lease, float]]) -> set[int]:
        """Returns no trial: each is trained to its end."""
        return set()

    def params(self, leases: Sequence[Lease]) -> list[Params]:
        """Returns the params of trials; those that have none get what the sampler draws."""
        context = self._context
        ids = [lease.trial_id for lease in leases]
        points = context.client.call(lambda: {i: context.search.known(i) for i in ids})
        lacking = [lease for lease in leases if points[lease.trial_id] is None]
        new = [lease.trial_id for lease in lacking if lease.is_new]
        # Enqueued trials have params of their own, which no other trial's structure may replace.
        given = [lease.trial_id for lease in lacking if not lease.is_new]
        if self._structure_first is None:
            given, new = [*given, *new], []
        drawn = context.client.call(lambda: [context.search.params(i) for i in given])
        points.update(zip(given, drawn, strict=True))
        if self._structure_first is not None:
            points.update(zip(new, self._structure_first.draw(new, self._ask), strict=True))
        return [Params(points[trial_id] or {}) for trial_id in ids]

    def _ask(self, trial_ids: Sequence[int], required: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._context.client.call(partial(self._context.search.ask, trial_ids, required))
