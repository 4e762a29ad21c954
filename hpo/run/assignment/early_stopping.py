"""Early stopping of a study: no new trials begin once many in a row did not beat the best one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from hpo.run.link.context import WorkerContext
from hpo.search.base.history import History, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.forecast import is_out_of_patience
from hpo.store.ledger.leases import AssignmentRequests, Claim


def claim_call(
    context: WorkerContext,
    n: int,
    held: Collection[int],
    requests: AssignmentRequests | None = None,
) -> Callable[[], Claim]:
    """Returns the claim of a worker, for its database client to make.

    Args:
        context: The worker's.
        n: How many trials to claim.
        held: Ids of those that it has.
        requests: What the scheduler has planned; None for a worker whose trials do not pause,
            which may find that its study is out of patience.
    """
    study, worker_id = context.study, context.worker_id
    claim = partial(context.ledger.claim, study.study_id, worker_id, n, held)
    if requests is not None:
        return partial(claim, requests)
    if context.patience is None or len(study.spec.directions) > 1:
        return claim
    return lambda: claim(last_requests(context))


def last_requests(context: WorkerContext) -> AssignmentRequests | None:
    """Returns the requests that end a study which is out of patience; None before that.

    Trials that run or were interrupted are trained to their end, and then the study is over.

    Args:
        context: The worker's; its study has a patience, and one objective.
    """
    spec, patience = context.study.spec, context.patience
    if patience is None:
        return None
    # First, so that no trial that is granted meanwhile is overlooked.
    status = context.ledger.study_status(context.study.study_id)
    trials = context.search.trials()
    horizon = max((max(t.intermediate_values, default=0) for t in trials), default=0)
    history = History(Encoder.of_distributions({}), horizon, spec.directions[0] == "maximize")
    for trial in trials:
        history.put(row_of(trial))
    if not is_out_of_patience(history.curves(), patience):
        return None
    first_stop = status.epochs or spec.budget.epochs
    return AssignmentRequests((), first_stop, status.last_token, reason="patience")
