"""Runs the trials of a task on an engine, epoch by epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optuna.trial import TrialState

from hpo.run.post import Post
from hpo.search.samplers import mix
from hpo.spec.params import Params
from hpo.store.ledger import EpochRow, Lease, Outcome
from hpo.train.engine import Engine, EpochReport, Failure, Lane

logger = logging.getLogger(__name__)
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Verdict:
    """How a trial ends."""

    state: Literal["complete", "pruned", "failed"]
    reason: str
    values: tuple[float, ...] | None = None
    message: str = ""


class TaskExecutor:
    """Trials of one task as lanes of an engine.

    Args:
        post: The study, its ledger and its search.
        engine: Trains the lanes.
    """

    def __init__(self, post: Post, engine: Engine) -> None:
        self._post = post
        self._engine = engine
        self._leases: dict[int, Lease] = {}
        self.capacity = engine.capacity

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that are lanes now."""
        return frozenset(self._leases)

    def begin(self, lease: Lease) -> None:
        """Makes a trial a lane: from its checkpoint where there is one, else from its seed."""
        post = self._post
        params = post.patiently(lambda: post.search.params(lease.trial_id))
        checkpoint = post.artifacts.checkpoint(lease.number)
        lane = Lane(
            key=lease.trial_id,
            params=Params(params),
            seed=mix(post.study.spec.seed, lease.number),
            epoch=lease.epoch,
            epoch_stop=lease.epoch_stop,
            checkpoint=checkpoint if checkpoint.exists() else None,
            horizon=post.study.spec.budget.epochs,
        )
        self._leases[lease.trial_id] = lease
        failure = self._engine.add(lane)
        if failure:
            self._settle(lease.trial_id, _failed(failure), epoch=lease.epoch, user_attrs={})
            del self._leases[lease.trial_id]

    def work(self) -> None:
        """Trains every lane for one epoch, reports all at once, and ends those that are through."""
        reports = self._engine.advance()
        self._drop(self._report(reports) | (self._post.lost & self._leases.keys()))
        for report in reports:
            if report.key not in self._leases:
                continue
            verdict = self._judge(report)
            if verdict:
                self._end(report.key, report.epoch, verdict)
            else:
                self._save(report.key)

    def release(self) -> None:
        """Saves every lane and hands its trial back for somebody to go on with."""
        for key, lease in list(self._leases.items()):
            epoch = self._engine.epoch(key)
            self._save(key)
            outcome = Outcome(
                trial_id=key,
                token=lease.token,
                state="released",
                values=None,
                reason="interrupted",
                checkpoint=str(self._post.artifacts.checkpoint(lease.number)),
                epoch=epoch,
            )
            self._post.ledger.settle([outcome])
            self._forget(key)

    def _report(self, reports: list[EpochReport]) -> set[int]:
        rows = [self._row(report) for report in reports if report.failure is None]
        return self._post.patiently(lambda: self._post.ledger.report(rows)) if rows else set()

    def _row(self, report: EpochReport) -> EpochRow:
        metrics = self._post.study.spec.metrics
        single = len(metrics) == 1
        return EpochRow(
            trial_id=report.key,
            token=self._leases[report.key].token,
            epoch=report.epoch,
            metrics=report.metrics,
            objective=report.metrics[metrics[0]] if single else None,
            learning_rate=report.learning_rate,
            seconds=report.seconds,
            samples_per_s=report.samples_per_s,
        )

    def _judge(self, report: EpochReport) -> Verdict | None:
        if report.failure:
            return _failed(report.failure)
        lease, spec = self._leases[report.key], self._post.study.spec
        if report.epoch >= lease.epoch_stop:
            _, best = self._engine.best(report.key)
            return Verdict("complete", "", tuple(best[name] for name in spec.metrics))
        post = self._post
        reason = post.ending
        if not reason and post.patiently(lambda: post.search.should_prune(report.key)):
            reason = "pruned"
        return Verdict("pruned", reason, self._last_values(report)) if reason else None

    def _last_values(self, report: EpochReport) -> tuple[float, ...] | None:
        # Optuna gives a pruned trial its last intermediate value.
        values = tuple(report.metrics[name] for name in self._post.study.spec.metrics)
        return values if all(map(math.isfinite, values)) else None

    def _end(self, key: int, epoch: int, verdict: Verdict) -> None:
        attrs: dict[str, float] = {}
        number = self._leases[key].number
        model = self._post.artifacts.model(number)
        if verdict.state == "complete":
            attrs = {**self._engine.test(key), "best_epoch": self._engine.best(key)[0]}
            self._engine.export(key, model)
        self._settle(key, verdict, epoch, attrs)
        if verdict.state == "complete":
            self._keep_if_best(number)
        self._post.artifacts.checkpoint(number).unlink(missing_ok=True)
        self._forget(key)

    def _settle(
        self, key: int, verdict: Verdict, epoch: int, user_attrs: Mapping[str, float]
    ) -> None:
        post = self._post
        outcome = Outcome(
            trial_id=key,
            token=self._leases[key].token,
            state=verdict.state,
            values=verdict.values,
            reason=verdict.reason,
            message=verdict.message,
            user_attrs=user_attrs,
            epoch=epoch,
        )
        post.patiently(
            lambda: post.search.before_finish(key, STATES[verdict.state], verdict.values)
        )
        lost = post.patiently(lambda: post.ledger.settle([outcome]))
        if lost:
            logger.warning("trial %d was taken over by another worker", self._leases[key].number)

    def _keep_if_best(self, number: int) -> None:
        best = self._post.patiently(lambda: self._post.search.best_number())
        if best == number:
            self._post.artifacts.keep_only_model(number)
        else:
            self._post.artifacts.model(number).unlink(missing_ok=True)

    def _save(self, key: int) -> None:
        self._engine.save(key, self._post.artifacts.checkpoint(self._leases[key].number))

    def _drop(self, keys: set[int]) -> None:
        for key in keys:
            logger.warning("lost the lease of trial %d; dropped it", self._leases[key].number)
            self._forget(key)

    def _forget(self, key: int) -> None:
        self._engine.remove(key)
        del self._leases[key]


def _failed(failure: Failure) -> Verdict:
    # A diverged trial says something about its params: samplers learn from pruned trials, and
    # leave failed ones out.
    if failure.reason == "nan":
        return Verdict("pruned", failure.reason, None, failure.message)
    return Verdict("failed", failure.reason, None, failure.message)
