"""Where a lane begins: at its checkpoint, or at its seed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from hpo.train.engine import Lane
from hpo.train.loop.checkpoint import Checkpoint, CheckpointError, named, plain

logger = logging.getLogger(__name__)
T = TypeVar("T")


def resume(lane: Lane, load: Callable[[Checkpoint], T]) -> T | None:
    """Goes on from a lane's checkpoint.

    What cannot be used is logged: the lane starts from epoch 0 then.

    Args:
        lane: The lane.
        load: Takes the checkpoint over, or raises ``CheckpointError``.

    Returns:
        What ``load`` returns; None where there is nothing to be used.
    """
    if lane.checkpoint is None:
        if lane.epoch:
            logger.warning("lane %d has no checkpoint; it starts from epoch 0", lane.key)
        return None
    try:
        saved = Checkpoint.load(lane.checkpoint)
        if (saved.seed, saved.params) != (lane.seed, plain(lane.params.asdict())):
            raise CheckpointError(f"{named(lane.checkpoint)} belongs to another trial")
        return load(saved)
    except CheckpointError as error:
        logger.warning("lane %d starts from epoch 0: %s", lane.key, error)
        return None
