"""External trial: a claimed trial whose training loop is the user's, and how its epochs end it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

from hpo.run.assignment.assigner import AWAY, Assigner
from hpo.run.link.context import WorkerContext
from hpo.run.link.watchdog import overtime
from hpo.run.trials import outcomes
from hpo.run.trials.search_errors import asked_pruner, of_owned, searching
from hpo.store.ledger.leases import Claim, EpochRow, Lease, Outcome
from hpo.store.studies import resumption

EndingKind: TypeAlias = Literal[
    "paused", "released", "pruned", "complete", "failed", "lost", "diverged"
]


@dataclass(frozen=True)
class Ending:
    """How a trial ends in this process.

    Attributes:
        kind: ``paused`` by the search, ``released`` for any worker to resume, ``lost`` to another
            worker; the others end the trial.
        reason: Of its event, as in ``Outcome``.
        message: Of its event.
        values: One an objective; None for none.
    """

    kind: EndingKind
    reason: str = ""
    message: str = ""
    values: tuple[float, ...] | None = None


class ExternalTrial:
    """One claimed trial that a loop of the user's own trains, in this process or in another one.

    The loop tells each epoch that is complete, by ``report``, and ends when ``ending`` is set. Its
    executor settles the outcome. At its lease's ``epoch_stop`` a trial that can be resumed asks
    for more without leaving the loop; it is paused where others come first.

    Args:
        context: The study, its ledger and its search.
        assigner: Claims trials, and decides which pause.
        lease: Of the trial.
        n_epochs: Epochs of the whole trial.
        can_pause: Whether the loop resumes from its checkpoints.

    Attributes:
        lease: The latest; it grows where the search lets the trial continue.
        epoch: Epochs that are reported.
        n_epochs: See above; ``announce`` changes it.
        can_pause: Likewise.
        ending: Why the loop has to end now; None while it continues.
        next_claim: What was granted in place of this trial; None where nothing was.
        epoch_s: Seconds of the last epoch.
    """

    def __init__(
        self,
        context: WorkerContext,
        assigner: Assigner,
        lease: Lease,
        *,
        n_epochs: int,
        can_pause: bool = False,
    ) -> None:
        self.lease = lease
        self.epoch = lease.epoch
        self.n_epochs = n_epochs
        self.can_pause = can_pause
        self.ending: Ending | None = None
        self.next_claim: Claim | None = None
        self.epoch_s = 0.0
        self._context = context
        self._assigner = assigner
        self._metrics = context.study.spec.metrics
        self._maximize = context.study.spec.directions[0] == "maximize"
        self._trained_s = lease.seconds
        self._began_s = time.monotonic()
        self._last: tuple[float, ...] | None = None
        self._best: tuple[float, ...] | None = None

    @property
    def values(self) -> tuple[float, ...] | None:
        """Values of the best epoch that is known here, one an objective; None before any."""
        if self._best is None and self.epoch and len(self._metrics) == 1:
            call = partial(self._context.search.reported, self.lease.trial_id)
            known = [v for v in self._context.client.call(call).values() if math.isfinite(v)]
            if known:
                self._best = (max(known) if self._maximize else min(known),)
        return self._best

    def use(self, assigner: Assigner) -> None:
        """Lets another assigner decide from now on, at the next epoch for the first time."""
        self._assigner = assigner
        if assigner.pauses and self.can_pause and self.epoch < self.lease.epoch_stop:
            stop = self.epoch + 1
            call = partial(resumption.set_stop, self._context.db, self.lease, stop)
            self._context.client.try_call(call, False)
            self.lease = replace(self.lease, epoch_stop=stop)

    def report(self, epoch: int, metrics: Mapping[str, float], metric: str) -> Ending | None:
        """Reports an epoch, and decides what becomes of the trial.

        Epochs that were reported before are not written again, and nothing is decided by them: a
        loop that lost its checkpoint repeats them.

        Args:
            epoch: Epochs that are complete, from 1.
            metrics: All values of the epoch.
            metric: The one that is optimised, in a study with one objective.

        Returns:
            ``ending``.

        Raises:
            Stopped: The worker was told to leave, and the database is away.
            SearchFailed: The search raises.
        """
        now = time.monotonic()
        self.epoch_s, self._began_s = now - self._began_s, now
        self._trained_s += self.epoch_s
        with self._context.watchdog.paused():
            if epoch > self.epoch:
                self._note(epoch, metrics, metric)
                self.ending = self.ending or self._ending(epoch, metrics.get(metric, math.nan))
            else:
                self.ending = self.ending or self._interruption(epoch)
        # What the decision took is no part of the next epoch.
        self._began_s = time.monotonic()
        return self.ending

    def complete(self, epochs: Iterable[tuple[int, Mapping[str, float]]], metric: str) -> None:
        """Completes a trial whose loop has come to its end by itself, while it was to be paused.

        Args:
            epochs: Those that it has trained meanwhile, with their metrics.
            metric: The one that is optimised.
        """
        self.ending = None
        for epoch, metrics in epochs:
            if epoch > self.epoch and self.ending is None:
                self._note(epoch, metrics, metric)
        assert self.values is not None
        # A value that is no number has ended it before.
        self.ending = self.ending or Ending("complete", values=self.values)

    def check(self) -> Ending | None:
        """Decides between epochs, for a loop that can be ended at any time; returns ``ending``."""
        self.ending = self.ending or self._interruption(self.epoch)
        return self.ending

    def outcome(self, checkpoint: str | None = None) -> Outcome | None:
        """Returns the outcome of an ending; None where the lease is lost.

        Args:
            checkpoint: Where to resume from; None keeps the one before.
        """
        ending, lease, epoch = self.ending, self.lease, self.epoch
        assert ending is not None
        match ending.kind:
            case "paused":
                return outcomes.paused(lease, epoch, checkpoint)
            case "released":
                return outcomes.released(lease, epoch, checkpoint)
            case "pruned" | "diverged":
                return outcomes.pruned(lease, epoch, ending.reason, ending.values, ending.message)
            case "complete":
                assert ending.values is not None
                return outcomes.complete(lease, epoch, ending.values)
            case "failed":
                return outcomes.failed(lease, epoch, ending.reason, ending.message)
            case "lost":
                return None

    def _note(self, epoch: int, metrics: Mapping[str, float], metric: str) -> None:
        """Writes an epoch, unless its objective is no number."""
        single = len(self._metrics) == 1
        values = (metrics[metric],) if single else tuple(metrics[name] for name in self._metrics)
        if not all(map(math.isfinite, values)):
            message = f"{metric} is {values[0]} after epoch {epoch}"
            self.ending = Ending("diverged", "nan", message)
            return
        row = EpochRow(
            trial_id=self.lease.trial_id,
            token=self.lease.token,
            epoch=epoch,
            metrics=dict(metrics),
            objective=values[0] if single else None,
            learning_rate=None,
            seconds=self.epoch_s,
            samples_per_s=None,
        )
        if self._context.client.report([row]):
            self._context.client.lost.add(self.lease.trial_id)
        known, self.epoch, self._last = self.values, epoch, values
        if known is None or (values[0] > known[0] if self._maximize else values[0] < known[0]):
            self._best = values

    def _ending(self, epoch: int, value: float) -> Ending | None:
        """Returns how the trial ends after an epoch that is written."""
        if self.lease.trial_id in self._context.client.lost:
            return Ending("lost")
        if (reached := self._at_target()) is not None:
            return reached
        if (interruption := self._interruption(epoch)) is not None:
            return interruption
        if epoch >= self.n_epochs:
            return None
        if self._assigner.pauses:
            return self._at_stop(epoch, value) if epoch >= self.lease.epoch_stop else None
        if self._is_at_total(epoch):
            return Ending("complete", values=self.values)
        if self._context.search.decides_at(epoch) and self._is_pruned():
            return Ending("pruned", "pruned", values=self._last)
        return None

    def _interruption(self, epoch: int) -> Ending | None:
        """Returns how the trial ends for reasons that its own values do not give."""
        context = self._context
        if self.lease.trial_id in context.client.lost:
            return Ending("lost")
        if context.ending:
            return Ending("pruned", context.ending, values=self._last)
        spent_s = self._trained_s + time.monotonic() - self._began_s
        late = overtime(spent_s, epoch, context.trial_s)
        if late:
            return Ending("failed", "timeout", late)
        return Ending("released") if context.stop.is_set() or context.paused else None

    def _at_target(self) -> Ending | None:
        context, values = self._context, self.values
        if values is None or len(self._metrics) > 1 or not context.reaches_target(values[0]):
            return None
        study_id = context.study.study_id
        if not context.client.try_call(lambda: context.ledger.finish_if_reported(study_id), True):
            # The target was changed just now.
            return None
        context.ending = "target"
        return Ending("complete", values=values)

    def _is_at_total(self, epoch: int) -> bool:
        """Returns whether the study's budget of all epochs has no more for this trial."""
        has_total = self._context.study.spec.budget.total_epochs is not None
        return has_total and epoch >= self.lease.epoch_stop

    def _at_stop(self, epoch: int, value: float) -> Ending | None:
        """Asks for more epochs; returns how the trial ends where it gets none."""
        lease = replace(self.lease, epoch=epoch, epoch_stop=epoch)
        with searching(self._context):
            if lease.trial_id not in self._assigner.to_pause({lease.trial_id: (lease, value)}):
                return None
        if not self.can_pause:
            return Ending("pruned", "pruned", values=self._last)
        return None if self._is_continued(lease) else Ending("paused")

    def _is_continued(self, lease: Lease) -> bool:
        context, client = self._context, self._context.client
        if not client.is_down:
            client.adopt()
            with searching(context):
                claim = self._assigner.claim(1, {lease.trial_id}, [lease])
            if claim is not AWAY:
                return self._take(claim)
        # As tasks do: trains further where no budget of all epochs forbids it.
        if context.study.spec.budget.total_epochs is not None:
            return False
        stop = max(lease.epoch_stop + 1, min(2 * lease.epoch_stop, self.n_epochs))
        self.lease = replace(lease, epoch_stop=stop)
        return True

    def _take(self, claim: Claim) -> bool:
        """Takes a claim's answer; returns whether this trial continues."""
        if claim.leases:
            self._context.ending, self._context.paused = "", False
        own = [lease for lease in claim.leases if lease.trial_id == self.lease.trial_id]
        others = tuple(lease for lease in claim.leases if lease.trial_id != self.lease.trial_id)
        if others:
            self._context.client.lost.difference_update(lease.trial_id for lease in others)
            self.next_claim = replace(claim, leases=others)
        if own:
            self.lease = own[0]
        return bool(own)

    def _is_pruned(self) -> bool:
        context, none = self._context, set[int]()
        if len(self._metrics) > 1:
            return False

        def ask(leases: object) -> set[int]:
            ids = [self.lease.trial_id]
            call = partial(context.client.try_call, lambda: context.search.to_prune(ids), none)
            return asked_pruner(context, call, none)

        _, answer = of_owned(context, [self.lease], ask)
        return bool(answer)
