"""Artifact garbage collection: of trials that have ended, only the best one's model is kept."""

from __future__ import annotations

import contextlib

from hpo.run.link.context import WorkerContext


def sweep(context: WorkerContext) -> bool:
    """Removes the checkpoints of trials that have ended, and their models but the best's.

    However a trial ended: here, cancelled from a terminal, or with the study. A trial that another
    worker has exported and not settled yet is left alone, for it may become the best. What a
    worker that was killed has half written goes as well, once its trial has ended: until then
    another one may be writing it.

    Returns:
        Whether it is through; False while the database is away.
    """
    # In this order: who is no longer open by the time that is asked for has settled before the
    # best one is.
    found, remains = context.artifacts.of_trials(), context.artifacts.remains_of_trials()
    answer = context.client.try_call(
        lambda: (context.ledger.open_numbers(context.study.study_id), context.search.best_number()),
        None,
    )
    if answer is None:
        return False
    still_open, best = answer
    kept = None if best is None else context.artifacts.model(best)
    for path, number in found.items():
        if number not in still_open and path != kept:
            context.artifacts.drop(path)
    for path, number in remains.items():
        if number not in still_open:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return True
