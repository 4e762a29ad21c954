"""Runs the trials of a task on an engine, epoch by epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from optuna.trial import TrialState

from hpo.run.post import Post, put_down
from hpo.run.saving import Pace
from hpo.search.samplers import mix
from hpo.spec.params import Params
from hpo.store.ledger import EpochRow, Lease, Outcome
from hpo.train.engine import Engine, EpochReport, Failure, Lane

logger = logging.getLogger(__name__)
_UNKNOWN = -1
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

    An outage of the database stops no lane: what is reported is written or spooled, and without
    the others' results nothing is pruned.

    Args:
        post: The study, its ledger and its search.
        engine: Trains the lanes.
    """

    def __init__(self, post: Post, engine: Engine) -> None:
        self._post = post
        self._engine = engine
        self._leases: dict[int, Lease] = {}
        self._unsaved_s: dict[int, float] = {}
        self._saving_s = 0.0
        self._candidates: list[int] = []
        self.capacity = engine.capacity

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that are lanes now."""
        return frozenset(self._leases)

    def begin(self, lease: Lease) -> None:
        """Makes a trial a lane: from its checkpoint where there is one, else from its seed."""
        post = self._post
        params = post.patiently(lambda: post.search.params(lease.trial_id))
        self._tidy_models()
        lane = Lane(
            key=lease.trial_id,
            params=Params(params),
            seed=mix(post.study.spec.seed, lease.number),
            epoch=lease.epoch,
            epoch_stop=lease.epoch_stop,
            checkpoint=post.artifacts.latest_checkpoint(lease.number),
            horizon=post.study.spec.budget.epochs,
        )
        self._leases[lease.trial_id] = lease
        failure = self._add(lane)
        if failure:
            self._settle(lease.trial_id, _failed(failure), epoch=lease.epoch, user_attrs={})
            del self._leases[lease.trial_id]

    def _add(self, lane: Lane) -> Failure | None:
        failure = self._engine.add(lane)
        if failure or self._engine.epoch(lane.key) <= lane.epoch:
            return failure
        # Its last owner's reports are in a spool that has not come, or came too late: going on
        # from here would leave a hole in the curve.
        logger.warning("lane %d has unreported epochs; it starts from epoch 0", lane.key)
        self._engine.remove(lane.key)
        return self._engine.add(replace(lane, checkpoint=None))

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
                self._save_if_due(report)

    def release(self) -> None:
        """Saves every lane and hands its trial back for somebody to go on with."""
        for key, lease in list(self._leases.items()):
            self._save(key)
            checkpoint = str(self._post.artifacts.checkpoint(lease.number))
            self._post.line.settle([put_down(lease, self._engine.epoch(key), checkpoint)])
            self._forget(key)
        self._tidy_models()

    def _report(self, reports: list[EpochReport]) -> set[int]:
        rows = [self._row(report) for report in reports if report.failure is None]
        return self._post.line.report(rows) if rows else set()

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
        if not reason and post.line.ask(lambda: post.search.should_prune(report.key), False):
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
            self._post.artifacts.share(model)
        self._settle(key, verdict, epoch, attrs)
        if verdict.state == "complete":
            self._candidates.append(number)
            self._tidy_models()
        self._post.artifacts.drop(self._post.artifacts.checkpoint(number))
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
        state = STATES[verdict.state]
        post.line.ask(lambda: post.search.before_finish(key, state, verdict.values), None)
        if post.line.settle([outcome]):
            logger.warning("trial %d was taken over by another worker", self._leases[key].number)

    def _tidy_models(self) -> None:
        """Removes the models of trials that are not the best, once it is known which one is."""
        if not self._candidates:
            return
        best = self._post.line.ask(self._post.search.best_number, _UNKNOWN)
        if best == _UNKNOWN:
            return
        if best in self._candidates:
            self._post.artifacts.keep_only_model(best)
        else:
            for number in self._candidates:
                self._post.artifacts.drop(self._post.artifacts.model(number))
        self._candidates.clear()

    def _save_if_due(self, report: EpochReport) -> None:
        trained_s = self._unsaved_s.get(report.key, 0.0) + report.seconds
        self._unsaved_s[report.key] = trained_s
        if Pace(trained_s, report.seconds, self._saving_s).is_due:
            self._save(report.key)

    def _save(self, key: int) -> None:
        began_s = time.perf_counter()
        path = self._post.artifacts.checkpoint(self._leases[key].number)
        self._engine.save(key, path)
        self._post.artifacts.share(path)
        self._saving_s = time.perf_counter() - began_s
        self._unsaved_s[key] = 0.0

    def _drop(self, keys: set[int]) -> None:
        for key in keys:
            logger.warning("lost the lease of trial %d; dropped it", self._leases[key].number)
            self._forget(key)

    def _forget(self, key: int) -> None:
        self._engine.remove(key)
        self._unsaved_s.pop(key, None)
        del self._leases[key]


def _failed(failure: Failure) -> Verdict:
    # A diverged trial says something about its params: samplers learn from pruned trials, and
    # leave failed ones out.
    if failure.reason == "nan":
        return Verdict("pruned", failure.reason, None, failure.message)
    return Verdict("failed", failure.reason, None, failure.message)
