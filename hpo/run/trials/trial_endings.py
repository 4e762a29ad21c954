"""Trial endings: which running trials end after an epoch, and which wait at their stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from hpo.run.assignment.assigner import Assigner
from hpo.run.link.context import WorkerContext
from hpo.run.link.watchdog import overtime
from hpo.run.trials import outcomes
from hpo.run.trials.running_trial import RunningTrial
from hpo.run.trials.search_errors import asked_pruner, of_owned, searching
from hpo.store.ledger import spending
from hpo.store.ledger.leases import Lease, Outcome
from hpo.train.engine import Engine, EpochReport


class TrialEndings:
    """Decides which trials end: complete, failed, out of time, at the target, or pruned.

    Args:
        context: The study and its search; ``ending`` is set once a trial reaches the target.
        engine: Knows the best epoch of each lane.
        assigner: Decides which trials pause at their stop.
    """

    def __init__(self, context: WorkerContext, engine: Engine, assigner: Assigner) -> None:
        self._context = context
        self._engine = engine
        self._assigner = assigner
        self._metrics = context.study.spec.metrics

    def are_due(self, reports: Sequence[EpochReport], trials: Mapping[int, RunningTrial]) -> bool:
        """Returns whether a trial may end, so that its epochs must be written before.

        Args:
            reports: Of the last epoch.
            trials: By key; all of the reports are among them.
        """
        return (
            bool(self._context.ending)
            or any(self._own(r, trials[r.key]) or self._prunes_at(r.epoch) for r in reports)
            or bool(self._at_target(reports))
        )

    def after_epoch(
        self, reports: Sequence[EpochReport], trials: Mapping[int, RunningTrial]
    ) -> dict[int, Outcome]:
        """Returns the outcomes of the trials that end now, by key; notes those at their stop.

        Args:
            reports: Of the last epoch, which is written.
            trials: By key; all of the reports are among them.
        """
        context = self._context
        at_target = self._at_target(reports)
        if at_target:
            # By the study's row: the target may have been changed just now.
            study_id = context.study.study_id
            context.target = context.client.try_call(
                lambda: spending.target_of(context.db, study_id), context.target
            )
            at_target = self._at_target(reports)
            context.ending = "target" if at_target else context.ending
        self._note_stops(reports, trials)
        ended = {r.key: found for r in reports if (found := self._own(r, trials[r.key]))}
        ended |= {r.key: self._complete(r, trials[r.key]) for r in reports if r.key in at_target}
        others = [report for report in reports if report.key not in ended]
        asked = [trials[report.key].lease for report in others if self._prunes_at(report.epoch)]
        pruned = self._to_prune(asked) if asked and not context.ending else set()
        for report in others:
            if context.ending or report.key in pruned:
                reason = context.ending or "pruned"
                ended[report.key] = self._pruned(report, trials[report.key], reason)
        for key in ended:
            trials[key].is_at_stop = False
        return ended

    def _at_target(self, reports: Sequence[EpochReport]) -> set[int]:
        """Returns the lanes whose best epoch reaches the study's target: they are complete."""
        if self._context.target is None:
            return set()
        bests = {r.key: self._engine.best(r.key)[1] for r in reports if r.failure is None}
        metric, reaches = self._metrics[0], self._context.reaches_target
        return {key for key, best in bests.items() if reaches(best.get(metric, math.nan))}

    def _note_stops(
        self, reports: Sequence[EpochReport], trials: Mapping[int, RunningTrial]
    ) -> None:
        """Finds the lanes that have come to their stop, and are not complete."""
        values = {
            report.key: (lease, report.metrics[self._metrics[0]])
            for report in reports
            if not (report.failure or report.is_spent)
            and report.epoch >= (lease := trials[report.key].lease).epoch_stop
        }
        if values:
            with searching(self._context):
                for key in self._assigner.to_pause(values):
                    trials[key].is_at_stop = True

    def _own(self, report: EpochReport, trial: RunningTrial) -> Outcome | None:
        """Returns the outcome of a trial that ends whatever the others do."""
        if report.failure:
            return outcomes.of_failure(trial.lease, report.epoch, report.failure)
        is_through = report.epoch >= trial.lease.epoch_stop and not trial.is_at_stop
        if report.is_spent or is_through:
            return self._complete(report, trial)
        late = overtime(trial.trained_s, report.epoch, self._context.trial_s)
        return outcomes.timed_out(trial.lease, report.epoch, late) if late else None

    def _prunes_at(self, epoch: int) -> bool:
        return not self._assigner.pauses and self._context.search.decides_at(epoch)

    def _to_prune(self, leases: Sequence[Lease]) -> set[int]:
        context, none = self._context, set[int]()

        def ask(leases: Sequence[Lease]) -> set[int]:
            ids = [lease.trial_id for lease in leases]
            call = partial(context.client.try_call, lambda: context.search.to_prune(ids), none)
            return asked_pruner(context, call, none)

        _, answer = of_owned(context, leases, ask)
        return answer or none

    def _complete(self, report: EpochReport, trial: RunningTrial) -> Outcome:
        best = self._engine.best(report.key)[1]
        values = tuple(best[name] for name in self._metrics)
        return outcomes.complete(trial.lease, report.epoch, values)

    def _pruned(self, report: EpochReport, trial: RunningTrial, reason: str) -> Outcome:
        # As Optuna gives them: the values after the last epoch, if all are finite.
        last = tuple(report.metrics[name] for name in self._metrics)
        values = last if all(map(math.isfinite, last)) else None
        return outcomes.pruned(trial.lease, report.epoch, reason, values)
