"""Runs the trials of a task on an engine, epoch by epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from hpo.run.assignment.assigner import Assigner
from hpo.run.link.context import WorkerContext
from hpo.run.link.watchdog import overtime
from hpo.run.trials.admission import board, lane_of
from hpo.run.trials.artifact_gc import sweep
from hpo.run.trials.checkpointing import Checkpointer
from hpo.run.trials.epoch_batches import EpochBatcher
from hpo.run.trials.executor import released
from hpo.run.trials.outcomes import STATES, End, Verdict, complete, failed, good_enough, last_values
from hpo.run.trials.search_errors import asked_pruner, before_finish, of_owned, searching
from hpo.spec.space.params import Params
from hpo.store.ledger import spending
from hpo.store.ledger.leases import Claim, Lease, Outcome
from hpo.store.rows.stack_statistics import Usage
from hpo.train.engine import Engine, EpochReport, Failure, Lane
from hpo.train.loop.fold_engine import spread_of
from hpo.train.user_code_guard import attempt

logger = logging.getLogger(__name__)


class TaskExecutor:
    """Trials of one task as lanes of an engine.

    An outage of the database stops no lane: reports are spooled, and nothing is pruned.

    Args:
        context: The study, its ledger and its search.
        engine: Trains the lanes.
        assigner: Claims trials, and gives them their params.
    """

    def __init__(self, context: WorkerContext, engine: Engine, assigner: Assigner) -> None:
        self._context = context
        self._engine = engine
        self._assigner = assigner
        self._leases: dict[int, Lease] = {}
        self._at_stop: set[int] = set()
        self._trained_s: dict[int, float] = {}
        self._saver = Checkpointer(engine, context)
        self._is_untidy = True
        self._reporting = EpochBatcher(context)

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
        """How many trials to claim now: those at their stop may be among them."""
        n_going = len(self._leases) - len(self._at_stop)
        n_free = self._engine.capacity - n_going
        # Whatever is at its stop waits for an answer.
        return max(self._assigner.wanted(n_free, n_going), len(self._at_stop))

    def claim(self) -> Claim:
        """Takes as many trials as it has room for.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
        """
        # The search decides by epochs, not by when they happened to be written.
        self._report()
        at_stop = [self._leases[key] for key in sorted(self._at_stop)]
        return self._assigner.claim(self.wanted, self.held, at_stop)

    def continue_offline(self) -> None:
        """Trains what is at its stop a bit further, where no budget of epochs forbids it."""
        budget = self._context.study.spec.budget
        if budget.total_epochs is not None:
            self._pause(self._at_stop)
        for key in self._at_stop:
            lease = self._leases[key]
            epoch_stop = max(lease.epoch_stop + 1, min(2 * lease.epoch_stop, budget.epochs))
            self._leases[key] = replace(lease, epoch_stop=epoch_stop)
        self._at_stop.clear()

    def begin(self, leases: Sequence[Lease]) -> None:
        """Makes trials lanes: from their checkpoints where there are any, else from their seeds.

        Lanes that are at their stop go on if they are among the trials, else they are put aside.
        """
        for lease in leases:
            if lease.trial_id in self._leases:
                self._leases[lease.trial_id] = lease
                self._at_stop.discard(lease.trial_id)
        self._pause(self._at_stop)
        self._begin([lease for lease in leases if lease.trial_id not in self._leases])

    def _begin(self, leases: Sequence[Lease]) -> None:
        leases, answer = of_owned(self._context, leases, self._assigner.params)
        found = answer or []
        self._tidy()
        ends, surplus = [], []
        for lease, params in zip(leases, found, strict=True):
            if len(self._leases) >= self._engine.capacity:
                # A trial of another structure has taken the place of many.
                surplus.append(replace(released(lease, lease.epoch), reason=""))
                continue
            self._leases[lease.trial_id] = lease
            self._trained_s[lease.trial_id] = lease.seconds
            failure = self._board(lease, params)
            if failure:
                ends.append(End(lease.trial_id, lease.epoch, failed(failure)))
        self._context.client.settle(surplus)
        self._settle(ends)
        for end in ends:
            self._forget(end.key)

    def _board(self, lease: Lease, params: Params) -> Failure | None:
        with self._context.watchdog.watch([lease]):
            lane = self._lane(lease, params)
            failure = attempt(lambda: board(self._engine, lane))
            if isinstance(failure, Failure):
                # Where the engine itself raised it may hold half of the lane.
                self._engine.remove(lane.key)
        return failure

    def _pause(self, keys: Iterable[int]) -> None:
        """Puts lanes aside; somebody may go on with them later."""
        outcomes = []
        for key in list(keys):
            is_saved = self._save(key)
            if key in self._leases:
                lease, epoch = self._leases[key], self._engine.epoch(key)
                path = str(self._context.artifacts.checkpoint(lease.number)) if is_saved else None
                outcomes.append(Outcome(key, lease.token, "paused", checkpoint=path, epoch=epoch))
        if outcomes:
            self._context.client.settle(outcomes)
        for outcome in outcomes:
            self._forget(outcome.trial_id)

    def _lane(self, lease: Lease, params: Params) -> Lane:
        return lane_of(self._context, lease, params, pauses=self._assigner.pauses)

    def work(self) -> None:
        """Trains lanes for one epoch, reports all at once, and ends those that are through."""
        with self._context.watchdog.watch(self._leases.values()):
            reports = self._engine.advance()
        self._reporting.note(reports, self._leases)
        self._drop(self._context.client.lost & self._leases.keys())
        reports = [report for report in reports if report.key in self._leases]
        for report in reports:
            self._trained_s[report.key] += report.seconds
        if self._is_due(reports):
            self._report()
            reports = [report for report in reports if report.key in self._leases]
        verdicts = self._judge(reports)
        self._end([End(r.key, r.epoch, verdicts[r.key]) for r in reports if r.key in verdicts])
        for report in reports:
            goes_on = report.key not in verdicts and report.key in self._leases
            if goes_on and self._saver.is_due(report.key, report.seconds / len(reports)):
                self._save(report.key)
        self._tidy()

    def release(self) -> None:
        """Saves every lane and hands its trial back for somebody to go on with."""
        self._report()
        # The study may have ended, and its paused trials with it.
        self._is_untidy |= self._assigner.pauses
        for key, lease in list(self._leases.items()):
            is_saved = self._save(key)
            checkpoint = str(self._context.artifacts.checkpoint(lease.number)) if is_saved else None
            self._context.client.settle([released(lease, self._engine.epoch(key), checkpoint)])
            self._forget(key)
        self._tidy()

    def _is_due(self, reports: list[EpochReport]) -> bool:
        """Tells whether the epochs that were noted must be written now."""
        return (
            self._reporting.is_due
            or bool(self._context.ending)
            or any(self._own_end(report) or self._decides_at(report.epoch) for report in reports)
            or bool(good_enough(self._context, self._engine, reports))
        )

    def _report(self) -> None:
        """Writes the epochs that were noted, and drops the lanes whose lease is lost."""
        self._drop(self._reporting.write(self._leases.keys()) & self._leases.keys())

    def _judge(self, reports: list[EpochReport]) -> dict[int, Verdict]:
        """Returns how trials end, by key; those that go on have no verdict."""
        context = self._context
        good = good_enough(context, self._engine, reports)
        if good:
            # By the study's row: somebody may have changed the target just now.
            study_id = context.study.study_id
            context.target = context.client.try_call(
                lambda: spending.target_of(context.db, study_id), context.target
            )
            good = good_enough(context, self._engine, reports)
            context.ending = "target" if good else context.ending
        self._note_stops(reports)
        verdicts = {r.key: found for r in reports if (found := self._own_end(r)) is not None}
        verdicts |= {key: self._complete(key) for key in good}
        others = [report for report in reports if report.key not in verdicts]
        keys = [report.key for report in others if self._decides_at(report.epoch)]
        pruned: set[int] = set()
        if keys and not context.ending:
            pruned = self._to_prune(keys)
        for report in others:
            if context.ending or report.key in pruned:
                values = last_values(report, context.study.spec.metrics)
                verdicts[report.key] = Verdict("pruned", context.ending or "pruned", values)
        self._at_stop -= verdicts.keys()
        return verdicts

    def _to_prune(self, keys: list[int]) -> set[int]:
        context, nobody = self._context, set[int]()

        def ask(leases: Sequence[Lease]) -> set[int]:
            ids = [lease.trial_id for lease in leases]
            call = partial(context.client.try_call, lambda: context.search.to_prune(ids), nobody)
            return asked_pruner(context, call, nobody)

        _, answer = of_owned(context, [self._leases[key] for key in keys], ask)
        return answer or nobody

    def _decides_at(self, epoch: int) -> bool:
        return not self._assigner.pauses and self._context.search.decides_at(epoch)

    def _note_stops(self, reports: list[EpochReport]) -> None:
        """Finds the lanes that have come as far as they should, and are not complete."""
        metric = self._context.study.spec.metrics[0]
        values = {
            report.key: (lease, report.metrics[metric])
            for report in reports
            if not (report.failure or report.is_spent)
            and report.epoch >= (lease := self._leases[report.key]).epoch_stop
        }
        if values:
            with searching(self._context):
                self._at_stop |= self._assigner.to_pause(values)

    def _own_end(self, report: EpochReport) -> Verdict | None:
        """Returns how a trial ends whatever the others do."""
        if report.failure:
            return failed(report.failure)
        stop = self._leases[report.key].epoch_stop
        if report.is_spent or (report.epoch >= stop and report.key not in self._at_stop):
            return self._complete(report.key)
        late = overtime(self._trained_s[report.key], report.epoch, self._context.trial_s)
        return Verdict("failed", "timeout", None, late) if late else None

    def _complete(self, key: int) -> Verdict:
        return complete(self._engine.best(key)[1], self._context.study.spec.metrics)

    def _end(self, ends: list[End]) -> None:
        context = self._context
        ends = [self._completed(end) if end.verdict.state == "complete" else end for end in ends]
        self._settle(ends)
        for end in ends:
            context.artifacts.drop(context.artifacts.checkpoint(self._leases[end.key].number))
            # Another trial may be the best now, and its model or another's needed no longer.
            self._is_untidy |= end.verdict.state == "complete"
            self._forget(end.key)

    def _completed(self, end: End) -> End:
        """Measures the best model of a trial on test data, and keeps it; the task may raise."""
        lease = self._leases[end.key]
        with self._context.watchdog.watch([lease]):
            measured = attempt(lambda: self._measured(end.key))
        if isinstance(measured, Failure):
            return replace(end, verdict=failed(measured))
        self._saver.export(end.key, lease.number)
        return replace(end, user_attrs=measured)

    def _measured(self, key: int) -> dict[str, float]:
        epoch, best = self._engine.best(key)
        spread = spread_of(best, self._context.study.spec.metrics[0])
        return {**self._engine.test(key), "best_epoch": epoch, **spread}

    def _settle(self, ends: list[End]) -> None:
        if not ends:
            return
        context = self._context
        noted = [
            (self._leases[end.key], STATES[end.verdict.state], end.verdict.values) for end in ends
        ]
        failure = before_finish(context, noted)
        for key in context.client.settle([end.outcome(self._leases[end.key]) for end in ends]):
            logger.warning("trial %d was taken over by another worker", self._leases[key].number)
        if failure is not None:
            for end in ends:
                self._forget(end.key)
            raise failure

    def _tidy(self) -> None:
        """Removes the files that nobody needs any longer, where a trial may have left some."""
        if self._is_untidy:
            self._is_untidy = not sweep(self._context)

    def _save(self, key: int) -> bool:
        # No checkpoint may be ahead of what was reported: the curve would have a hole.
        self._report()
        return key in self._leases and self._saver.save(key, self._leases[key].number)

    def _drop(self, keys: set[int]) -> None:
        for key in keys:
            logger.warning("lost the lease of trial %d; dropped it", self._leases[key].number)
            self._forget(key)
            self._is_untidy = True

    def _forget(self, key: int) -> None:
        self._engine.remove(key)
        self._at_stop.discard(key)
        self._saver.forget(key)
        del self._trained_s[key]
        del self._leases[key]
