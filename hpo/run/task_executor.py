"""Runs the trials of a task on an engine, epoch by epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from optuna.trial import TrialState

from hpo.run.asking import Asking, Plainly
from hpo.run.post import Post, put_down
from hpo.run.saving import Pace
from hpo.run.sweeping import sweep
from hpo.run.watch import overtime
from hpo.search.seeds import mix
from hpo.spec.params import Params
from hpo.store.ledger import EpochRow, Lease, Outcome
from hpo.store.stacks import Usage
from hpo.train.engine import Engine, EpochReport, Failure, Lane

logger = logging.getLogger(__name__)
REPORT_S = 0.25
"""How long epochs may wait to be written, for others to be written along with them."""

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


class TaskExecutor:
    """Trials of one task as lanes of an engine.

    An outage of the database stops no lane: what is reported is written or spooled, and without
    the others' results nothing is pruned.

    Args:
        post: The study, its ledger and its search.
        engine: Trains the lanes.
        asking: Gives trials their params.
    """

    def __init__(self, post: Post, engine: Engine, asking: Asking | None = None) -> None:
        self._post = post
        self._engine = engine
        self._asking = asking or Plainly(post)
        self._leases: dict[int, Lease] = {}
        self._trained_s: dict[int, float] = {}
        self._unsaved_s: dict[int, float] = {}
        self._saving_s = 0.0
        self._is_untidy = True
        self._rows: list[EpochRow] = []
        self._first_noted_at = 0.0

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that are lanes now."""
        return frozenset(self._leases)

    @property
    def usage(self) -> Usage:
        """How full its stacks are, and were."""
        engine = self._engine
        return Usage(len(self._leases), engine.lane_epochs, engine.stack_epochs)

    @property
    def wanted(self) -> int:
        """How many more trials it has room for now."""
        n_held = len(self._leases)
        return self._asking.wanted(self._engine.capacity - n_held, n_held)

    def begin(self, leases: Sequence[Lease]) -> None:
        """Makes trials lanes: from their checkpoints where there are any, else from their seeds."""
        found = self._asking.params(leases)
        self._tidy()
        ends = []
        for lease, params in zip(leases, found, strict=True):
            self._leases[lease.trial_id] = lease
            self._trained_s[lease.trial_id] = lease.seconds
            with self._post.watch.over([lease]):
                failure = self._add(self._lane(lease, params))
            if failure:
                ends.append(End(lease.trial_id, lease.epoch, _failed(failure)))
        self._settle(ends)
        for end in ends:
            self._forget(end.key)

    def _lane(self, lease: Lease, params: Params) -> Lane:
        post = self._post
        return Lane(
            key=lease.trial_id,
            params=params,
            seed=mix(post.study.spec.seed, lease.number),
            epoch=lease.epoch,
            epoch_stop=lease.epoch_stop,
            checkpoint=post.artifacts.latest_checkpoint(lease.number),
            horizon=post.study.spec.budget.epochs,
        )

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
        """Trains lanes for one epoch, reports all at once, and ends those that are through."""
        with self._post.watch.over(self._leases.values()):
            reports = self._engine.advance()
        self._note(reports)
        self._drop(self._post.lost & self._leases.keys())
        reports = [report for report in reports if report.key in self._leases]
        for report in reports:
            self._trained_s[report.key] += report.seconds
        if self._is_due(reports):
            self._report()
            reports = [report for report in reports if report.key in self._leases]
        verdicts = self._judge(reports)
        self._end([End(r.key, r.epoch, verdicts[r.key]) for r in reports if r.key in verdicts])
        for report in reports:
            if report.key not in verdicts and report.key in self._leases:
                self._save_if_due(report, report.seconds / len(reports))
        self._tidy()

    def release(self) -> None:
        """Saves every lane and hands its trial back for somebody to go on with."""
        self._report()
        for key, lease in list(self._leases.items()):
            self._save(key)
            checkpoint = str(self._post.artifacts.checkpoint(lease.number))
            self._post.line.settle([put_down(lease, self._engine.epoch(key), checkpoint)])
            self._forget(key)
        self._tidy()

    def _note(self, reports: list[EpochReport]) -> None:
        if not self._rows:
            self._first_noted_at = time.monotonic()
        self._rows += [self._row(report) for report in reports if report.failure is None]

    def _is_due(self, reports: list[EpochReport]) -> bool:
        """Tells whether the epochs that were noted must be written now.

        Short ones are written together: a stack of small models has dozens a second.
        """
        if time.monotonic() - self._first_noted_at > REPORT_S or self._post.ending:
            return True
        return any(
            self._own_end(report) or self._post.search.decides_at(report.epoch)
            for report in reports
        )

    def _report(self) -> None:
        """Writes the epochs that were noted, and drops the lanes whose lease is lost."""
        rows = [row for row in self._rows if row.trial_id in self._leases]
        self._rows = []
        if rows:
            self._drop(self._post.line.report(rows) & self._leases.keys())

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

    def _judge(self, reports: list[EpochReport]) -> dict[int, Verdict]:
        """Returns how trials end, by key; those that go on have no verdict."""
        post = self._post
        verdicts = {r.key: found for r in reports if (found := self._own_end(r)) is not None}
        others = [report for report in reports if report.key not in verdicts]
        keys = [report.key for report in others if post.search.decides_at(report.epoch)]
        pruned: set[int] = set()
        if keys and not post.ending:
            pruned = post.line.ask(lambda: post.search.to_prune(keys), pruned)
        for report in others:
            if post.ending or report.key in pruned:
                reason = post.ending or "pruned"
                verdicts[report.key] = Verdict("pruned", reason, self._last_values(report))
        return verdicts

    def _own_end(self, report: EpochReport) -> Verdict | None:
        """Returns how a trial ends whatever the others do."""
        if report.failure:
            return _failed(report.failure)
        if report.epoch >= self._leases[report.key].epoch_stop:
            _, best = self._engine.best(report.key)
            metrics = self._post.study.spec.metrics
            return Verdict("complete", "", tuple(best[name] for name in metrics))
        late = overtime(self._trained_s[report.key], report.epoch, self._post.trial_s)
        return Verdict("failed", "timeout", None, late) if late else None

    def _last_values(self, report: EpochReport) -> tuple[float, ...] | None:
        # Optuna gives a pruned trial its last intermediate value.
        values = tuple(report.metrics[name] for name in self._post.study.spec.metrics)
        return values if all(map(math.isfinite, values)) else None

    def _end(self, ends: list[End]) -> None:
        post = self._post
        models: list[End] = []
        for end in ends:
            if end.verdict.state == "complete":
                with post.watch.over([self._leases[end.key]]):
                    best_epoch, _ = self._engine.best(end.key)
                    attrs = {**self._engine.test(end.key), "best_epoch": best_epoch}
                model = post.artifacts.model(self._leases[end.key].number)
                self._engine.export(end.key, model)
                post.artifacts.share(model)
                models.append(replace(end, user_attrs=attrs))
            else:
                models.append(end)
        self._settle(models)
        for end in ends:
            post.artifacts.drop(post.artifacts.checkpoint(self._leases[end.key].number))
            # Another trial may be the best now, and its model or another's needed no longer.
            self._is_untidy |= end.verdict.state == "complete"
            self._forget(end.key)

    def _settle(self, ends: list[End]) -> None:
        if not ends:
            return
        post = self._post
        noted = [(end.key, STATES[end.verdict.state], end.verdict.values) for end in ends]
        post.line.ask(lambda: post.search.before_finish(noted), None)
        for key in post.line.settle([end.outcome(self._leases[end.key]) for end in ends]):
            logger.warning("trial %d was taken over by another worker", self._leases[key].number)

    def _tidy(self) -> None:
        """Removes the files that nobody needs any longer, where a trial may have left some."""
        if self._is_untidy:
            self._is_untidy = not sweep(self._post)

    def _save_if_due(self, report: EpochReport, share_s: float) -> None:
        """Saves a lane at its pace; of a stack's seconds each lane has its share."""
        trained_s = self._unsaved_s.get(report.key, 0.0) + share_s
        self._unsaved_s[report.key] = trained_s
        if Pace(trained_s, share_s, self._saving_s).is_due:
            self._save(report.key)

    def _save(self, key: int) -> None:
        # No checkpoint may be ahead of what was reported: the curve would have a hole.
        self._report()
        if key not in self._leases:
            return
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
            self._is_untidy = True

    def _forget(self, key: int) -> None:
        self._engine.remove(key)
        self._unsaved_s.pop(key, None)
        del self._trained_s[key]
        del self._leases[key]


def _failed(failure: Failure) -> Verdict:
    # A diverged trial says something about its params: samplers learn from pruned trials, and
    # leave failed ones out.
    if failure.reason == "nan":
        return Verdict("pruned", failure.reason, None, failure.message)
    return Verdict("failed", failure.reason, None, failure.message)
