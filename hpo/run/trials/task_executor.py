"""Task executor: trains the trials of a task as lanes of an engine, epoch by epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from hpo.run.assignment.assigner import Assigner
from hpo.run.link.context import WorkerContext
from hpo.run.trials import outcomes
from hpo.run.trials.artifact_gc import sweep
from hpo.run.trials.checkpointing import Checkpointer
from hpo.run.trials.executor import Executor
from hpo.run.trials.running_trial import RunningTrial, add_lane, lane_of
from hpo.run.trials.search_errors import before_finish, of_owned
from hpo.run.trials.trial_endings import TrialEndings
from hpo.spec.space.params import Params
from hpo.store.ledger.leases import Claim, EpochRow, Lease, Outcome
from hpo.store.rows.stack_statistics import Usage
from hpo.train.engine import Engine, EpochReport, Failure
from hpo.train.loop.fold_engine import spread_of
from hpo.train.user_code_guard import attempt

logger = logging.getLogger(__name__)
REPORT_S: Final = 0.25
"""How long epochs may wait, so that others are written along with them."""


class TaskExecutor(Executor):
    """Trains the trials of one task as lanes of an engine.

    An outage of the database stops no lane: reports are kept, and no trial is pruned.

    Args:
        context: The study, its ledger and its search.
        engine: Trains the lanes.
        assigner: Claims trials, and gives them their params.
    """

    def __init__(self, context: WorkerContext, engine: Engine, assigner: Assigner) -> None:
        self._context = context
        self._engine = engine
        self._assigner = assigner
        self._metrics = context.study.spec.metrics
        self._checkpointer = Checkpointer(engine, context)
        self._endings = TrialEndings(context, engine, assigner)
        self._trials: dict[int, RunningTrial] = {}
        self._rows: list[EpochRow] = []
        self._first_row_at = 0.0
        self._has_garbage = True

    @property
    def held(self) -> frozenset[int]:
        """Ids of the trials that are lanes now."""
        return frozenset(self._trials)

    @property
    def usage(self) -> Usage:
        """How full its stacks are, and were."""
        engine = self._engine
        return Usage(len(self._trials), engine.lane_epochs, engine.stack_epochs)

    @property
    def wanted(self) -> int:
        """How many trials to claim now: those at their stop may be among them."""
        n_at_stop = len(self._at_stop())
        n_going = len(self._trials) - n_at_stop
        n_free = self._engine.capacity - n_going
        # Each that is at its stop waits for an answer.
        return max(self._assigner.wanted(n_free, n_going), n_at_stop)

    def claim(self) -> Claim:
        """Claims as many trials as it has room for; those at their stop may be continued.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """
        # The search decides by epochs, not by when they happened to be written.
        self._write_epochs()
        at_stop = [trial.lease for trial in sorted(self._at_stop(), key=lambda trial: trial.key)]
        return self._assigner.claim(self.wanted, self.held, at_stop)

    def continue_offline(self) -> None:
        """Trains what is at its stop further, where no budget of all epochs forbids it."""
        budget = self._context.study.spec.budget
        if budget.total_epochs is not None:
            self._pause(self._at_stop())
        for trial in self._at_stop():
            trial.extend(budget.epochs)

    def begin(self, leases: Sequence[Lease]) -> None:
        """Makes trials lanes: from their checkpoints where there are any, else from their seeds.

        Lanes at their stop continue if they are among the trials, else they are paused.
        """
        for lease in leases:
            if lease.trial_id in self._trials:
                self._trials[lease.trial_id].grant(lease)
        self._pause(self._at_stop())
        self._begin([lease for lease in leases if lease.trial_id not in self._trials])

    def work(self) -> None:
        """Trains lanes for one epoch, reports all at once, and ends those that are complete."""
        with self._context.watchdog.watch(trial.lease for trial in self._trials.values()):
            reports = self._engine.advance()
        self._keep_epochs(reports)
        self._drop(self._context.client.lost & self._trials.keys())
        reports = self._of_held(reports)
        for report in reports:
            self._trials[report.key].trained_s += report.seconds
        if self._must_write(reports):
            self._write_epochs()
            reports = self._of_held(reports)
        ended = self._endings.after_epoch(reports, self._trials)
        self._end([ended[report.key] for report in reports if report.key in ended])
        for report in reports:
            trial = self._trials.get(report.key)
            share_s = report.seconds / len(reports)
            if trial is not None and self._checkpointer.is_due(trial, share_s):
                self._save(trial)
        self._collect_garbage()

    def release(self) -> None:
        """Saves every lane and releases its trial, so that any worker can resume it."""
        self._write_epochs()
        # The study may have ended, and its paused trials with it.
        self._has_garbage |= self._assigner.pauses
        for trial in list(self._trials.values()):
            path, epoch = self._saved(trial), self._engine.epoch(trial.key)
            self._context.client.settle([outcomes.released(trial.lease, epoch, path)])
            self._forget(trial.key)
        self._collect_garbage()

    # Beginning and pausing.

    def _begin(self, leases: Sequence[Lease]) -> None:
        leases, found = of_owned(self._context, leases, self._assigner.params)
        self._collect_garbage()
        ended, surplus = [], []
        for lease, params in zip(leases, found or (), strict=True):
            if len(self._trials) >= self._engine.capacity:
                # A trial of another structure has taken the place of many.
                surplus.append(replace(outcomes.released(lease, lease.epoch), reason=""))
                continue
            self._trials[lease.trial_id] = RunningTrial.of(lease)
            failure = self._add_lane(lease, params)
            if failure:
                ended.append(outcomes.of_failure(lease, lease.epoch, failure))
        self._context.client.settle(surplus)
        self._settle(ended)
        for outcome in ended:
            self._forget(outcome.trial_id)

    def _add_lane(self, lease: Lease, params: Params) -> Failure | None:
        with self._context.watchdog.watch([lease]):
            lane = lane_of(self._context, lease, params, pauses=self._assigner.pauses)
            failure = attempt(lambda: add_lane(self._engine, lane))
            if isinstance(failure, Failure):
                # Where the engine itself raised it may hold half of the lane.
                self._engine.remove(lane.key)
        return failure

    def _at_stop(self) -> list[RunningTrial]:
        return [trial for trial in self._trials.values() if trial.is_at_stop]

    def _pause(self, trials: Iterable[RunningTrial]) -> None:
        """Pauses trials; the search may resume them later."""
        ended = []
        for trial in trials:
            path = self._saved(trial)
            if trial.key in self._trials:
                ended.append(outcomes.paused(trial.lease, self._engine.epoch(trial.key), path))
        if ended:
            self._context.client.settle(ended)
        for outcome in ended:
            self._forget(outcome.trial_id)

    # Reporting: short epochs are written together.

    def _of_held(self, reports: Sequence[EpochReport]) -> list[EpochReport]:
        return [report for report in reports if report.key in self._trials]

    def _keep_epochs(self, reports: Sequence[EpochReport]) -> None:
        if not self._rows:
            self._first_row_at = time.monotonic()
        self._rows += [
            self._trials[report.key].epoch_row(report, self._metrics)
            for report in reports
            if report.failure is None
        ]

    def _must_write(self, reports: Sequence[EpochReport]) -> bool:
        """Returns whether the epochs must be written now; a small stack has dozens a second."""
        return time.monotonic() - self._first_row_at > REPORT_S or self._endings.are_due(
            reports, self._trials
        )

    def _write_epochs(self) -> None:
        """Writes the epochs of lanes that are still held, and drops lanes whose lease is lost."""
        rows, self._rows = [row for row in self._rows if row.trial_id in self._trials], []
        if rows:
            self._drop(self._context.client.report(rows) & self._trials.keys())

    # Ending.

    def _end(self, ended: Sequence[Outcome]) -> None:
        artifacts = self._context.artifacts
        ended = [self._tested(one) if one.state == "complete" else one for one in ended]
        self._settle(ended)
        for outcome in ended:
            artifacts.drop(artifacts.checkpoint(self._trials[outcome.trial_id].number))
            # Another trial may be the best now, and its model or another's needed no longer.
            self._has_garbage |= outcome.state == "complete"
            self._forget(outcome.trial_id)

    def _tested(self, outcome: Outcome) -> Outcome:
        """Measures the best model of a trial on test data, and exports it; the task may raise."""
        trial = self._trials[outcome.trial_id]
        with self._context.watchdog.watch([trial.lease]):
            attrs = attempt(lambda: self._test(trial.key))
        if isinstance(attrs, Failure):
            return outcomes.of_failure(trial.lease, outcome.epoch, attrs)
        self._checkpointer.export(trial, self._engine)
        return replace(outcome, user_attrs=attrs)

    def _test(self, key: int) -> dict[str, float]:
        epoch, best = self._engine.best(key)
        spread = spread_of(best, self._metrics[0])
        return {**self._engine.test(key), "best_epoch": epoch, **spread}

    def _settle(self, ended: Sequence[Outcome]) -> None:
        if not ended:
            return
        noted = [
            (self._trials[one.trial_id].lease, outcomes.STATES[one.state], one.values)
            for one in ended
        ]
        failure = before_finish(self._context, noted)
        for key in self._context.client.settle(ended):
            logger.warning("trial %d was taken over by another worker", self._trials[key].number)
        if failure is not None:
            for outcome in ended:
                self._forget(outcome.trial_id)
            raise failure

    # Files and lanes.

    def _collect_garbage(self) -> None:
        """Removes files that are needed no longer, where a trial may have left some."""
        if self._has_garbage:
            self._has_garbage = not sweep(self._context)

    def _save(self, trial: RunningTrial) -> bool:
        # No checkpoint may be ahead of what was reported: the curve would have a hole.
        self._write_epochs()
        return trial.key in self._trials and self._checkpointer.save(trial)

    def _saved(self, trial: RunningTrial) -> str | None:
        """Writes a trial's checkpoint; returns its path, None where it could not be written."""
        is_saved = self._save(trial)
        return str(self._context.artifacts.checkpoint(trial.number)) if is_saved else None

    def _drop(self, keys: Iterable[int]) -> None:
        for key in keys:
            logger.warning("lost the lease of trial %d; dropped it", self._trials[key].number)
            self._forget(key)
            self._has_garbage = True

    def _forget(self, key: int) -> None:
        self._engine.remove(key)
        del self._trials[key]
