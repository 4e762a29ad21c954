"""How trials become lanes of an engine."""

from __future__ import annotations

import logging
from dataclasses import replace

from hpo.run.link.context import WorkerContext
from hpo.search.base.derived_seeds import mix
from hpo.spec.space.params import Params
from hpo.store.ledger.leases import Lease
from hpo.train.engine import Engine, Failure, Lane

logger = logging.getLogger(__name__)


def lane_of(context: WorkerContext, lease: Lease, params: Params, *, pauses: bool) -> Lane:
    """Returns the lane that a claimed trial shall be.

    Args:
        context: The study, and where its checkpoints are.
        pauses: Whether the search may go on with a trial where its lease stops.
    """
    epochs = context.study.spec.budget.epochs
    return Lane(
        key=lease.trial_id,
        params=params,
        seed=mix(context.study.spec.seed, lease.number),
        epoch=lease.epoch,
        # A lane that may go on at once keeps its place in the stack: it is told only by its worker
        # that it has come as far as it should.
        epoch_stop=max(lease.epoch_stop, epochs) if pauses else lease.epoch_stop,
        checkpoint=context.artifacts.latest_checkpoint(lease.number),
        horizon=epochs,
    )


def board(engine: Engine, lane: Lane) -> Failure | None:
    """Adds a lane to an engine, from its checkpoint if its curve has no hole then.

    Returns:
        Why it cannot train, if so.
    """
    failure = engine.add(lane)
    if failure or engine.epoch(lane.key) <= lane.epoch:
        return failure
    # Its last owner's reports are in a spool that has not come, or came too late: going on from
    # here would leave a hole in the curve.
    logger.warning("lane %d has unreported epochs; it starts from epoch 0", lane.key)
    engine.remove(lane.key)
    return engine.add(replace(lane, checkpoint=None))
