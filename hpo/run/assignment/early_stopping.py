"""When a study begins no new trials, for many in a row have been no better than the best."""

from __future__ import annotations

from hpo.run.link.context import WorkerContext
from hpo.search.base.history import History, row_of
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.forecast import is_out_of_patience
from hpo.store.ledger.leases import AssignmentRequests


def farewell(context: WorkerContext) -> AssignmentRequests | None:
    """Returns the last wishes of a study whose trials do not pause; None while it has none.

    What runs or was interrupted is trained to its end, and then the study is over.

    Args:
        context: The worker's place.
    """
    spec = context.study.spec
    if context.patience is None or len(spec.directions) > 1:
        return None
    # First, so that nothing that is granted meanwhile is overlooked.
    standing = context.ledger.study_status(context.study.study_id)
    trials = context.search.trials()
    horizon = max((max(t.intermediate_values, default=0) for t in trials), default=0)
    history = History(Encoder.of_distributions({}), horizon, spec.directions[0] == "maximize")
    for trial in trials:
        history.put(row_of(trial))
    if not is_out_of_patience(history.curves(), context.patience):
        return None
    first_stop = standing.epochs or spec.budget.epochs
    return AssignmentRequests((), first_stop, standing.last_token, reason="patience")
