"""How trials of a task end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from optuna.trial import TrialState

from hpo.run.link.context import WorkerContext
from hpo.store.ledger.leases import Lease, Outcome
from hpo.train.engine import Engine, EpochReport, Failure

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Verdict:
    """How a trial ends."""

    state: Literal["complete", "pruned", "failed"]
    reason: str
    values: tuple[float, ...] | None = None
    message: str = ""


@dataclass(frozen=True)
class End:
    """A trial that ends after an epoch."""

    key: int
    epoch: int
    verdict: Verdict
    user_attrs: Mapping[str, float] = field(default_factory=dict)

    def outcome(self, lease: Lease) -> Outcome:
        """Returns what the ledger is told."""
        verdict = self.verdict
        return Outcome(
            trial_id=lease.trial_id,
            token=lease.token,
            state=verdict.state,
            values=verdict.values,
            reason=verdict.reason,
            message=verdict.message,
            user_attrs=self.user_attrs,
            epoch=self.epoch,
        )


def good_enough(context: WorkerContext, engine: Engine, reports: Sequence[EpochReport]) -> set[int]:
    """Returns the lanes whose best epoch reaches the study's target: they are complete."""
    if context.target is None:
        return set()
    metric = context.study.spec.metrics[0]
    keys = {report.key for report in reports if report.failure is None}
    return {
        key for key in keys if context.reaches_target(engine.best(key)[1].get(metric, math.nan))
    }


def complete(best: Mapping[str, float], metrics: Sequence[str]) -> Verdict:
    """Returns how a trial ends that is through, from the metrics of its best epoch."""
    return Verdict("complete", "", tuple(best[name] for name in metrics))


def failed(failure: Failure) -> Verdict:
    """Returns how a trial ends that cannot go on."""
    # A diverged trial says something about its params: samplers learn from pruned trials, and
    # leave failed ones out.
    if failure.reason == "nan":
        return Verdict("pruned", failure.reason, None, failure.message)
    return Verdict("failed", failure.reason, None, failure.message)


def last_values(report: EpochReport, metrics: Sequence[str]) -> tuple[float, ...] | None:
    """Returns the values of a trial that is stopped after an epoch, as Optuna gives them."""
    values = tuple(report.metrics[name] for name in metrics)
    return values if all(map(math.isfinite, values)) else None
