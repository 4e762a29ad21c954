"""Running trial: a claimed trial of a task while it is a lane of an engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpo.run.link.context import WorkerContext
from hpo.spec.space.params import Params
from hpo.store.ledger.leases import EpochRow, Lease
from hpo.train.engine import Engine, EpochReport, Failure, Lane

logger = logging.getLogger(__name__)


@dataclass
class RunningTrial:
    """All that an executor knows of one trial that it trains.

    Attributes:
        lease: The latest; it grows where the search lets the trial continue.
        trained_s: Seconds that it has trained, on this worker and others.
        unsaved_s: Seconds that it has trained since its last checkpoint here.
        is_at_stop: Whether it has reached its lease's ``epoch_stop`` and waits for the search.
    """

    lease: Lease
    trained_s: float
    unsaved_s: float = 0.0
    is_at_stop: bool = False

    @classmethod
    def of(cls, lease: Lease) -> RunningTrial:
        """Returns the record of a trial that begins here."""
        return cls(lease, lease.seconds)

    @property
    def key(self) -> int:
        """Its id, by which the engine knows its lane."""
        return self.lease.trial_id

    @property
    def number(self) -> int:
        """Counted within the study from 0."""
        return self.lease.number

    def grant(self, lease: Lease) -> None:
        """Continues the trial by a lease that goes further."""
        self.lease, self.is_at_stop = lease, False

    def extend(self, epochs: int) -> None:
        """Continues the trial without a claim, at most to twice its epochs and to a limit."""
        stop = self.lease.epoch_stop
        self.grant(replace(self.lease, epoch_stop=max(stop + 1, min(2 * stop, epochs))))

    def epoch_row(self, report: EpochReport, metrics: Sequence[str]) -> EpochRow:
        """Returns an epoch as the ledger takes it.

        Args:
            report: Of the epoch.
            metrics: The study's objectives.
        """
        return EpochRow(
            trial_id=self.key,
            token=self.lease.token,
            epoch=report.epoch,
            metrics=report.metrics,
            objective=report.metrics[metrics[0]] if len(metrics) == 1 else None,
            learning_rate=report.learning_rate,
            seconds=report.seconds,
            samples_per_s=report.samples_per_s,
        )


def lane_of(context: WorkerContext, lease: Lease, params: Params, *, pauses: bool) -> Lane:
    """Returns the lane of a claimed trial.

    Args:
        context: The study, and where its checkpoints are.
        lease: Of the trial.
        params: Of the trial.
        pauses: Whether the search may let a trial continue where its lease stops.
    """
    epochs = context.study.spec.budget.epochs
    return Lane(
        key=lease.trial_id,
        params=params,
        seed=context.seed_of(lease),
        epoch=lease.epoch,
        # A lane that may continue at once keeps its place in the stack: only its executor decides
        # that it is at its stop.
        epoch_stop=max(lease.epoch_stop, epochs) if pauses else lease.epoch_stop,
        checkpoint=context.artifacts.latest_checkpoint(lease.number),
        horizon=epochs,
    )


def add_lane(engine: Engine, lane: Lane) -> Failure | None:
    """Adds a lane to an engine, from its checkpoint if its curve has no hole then.

    Returns:
        Why it cannot train, if so.
    """
    failure = engine.add(lane)
    if failure or engine.epoch(lane.key) <= lane.epoch:
        return failure
    # The reports of its last owner are in an outbox that was not written, or too late: resumed
    # from here, the curve would have a hole.
    logger.warning("lane %d has unreported epochs; it starts from epoch 0", lane.key)
    engine.remove(lane.key)
    return engine.add(replace(lane, checkpoint=None))
