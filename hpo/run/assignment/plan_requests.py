"""Plan requests: what a scheduler is asked, and its plan in the terms of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.run.assignment.structure_first import StructureFirst
from hpo.run.assignment.study_view import StudyView
from hpo.search.base.decisions import Advance, Ask, Note, Plan, Start
from hpo.search.base.rungs import lowest_rung
from hpo.store.ledger.leases import AssignmentRequest, AssignmentRequests, Lease, StudyStatus


def ask_of(
    status: StudyStatus,
    n: int,
    at_stop: Sequence[Lease],
    memory: Note,
    structure_first: StructureFirst | None,
) -> Ask:
    """Returns what a worker asks its scheduler.

    Args:
        status: What the study may still spend.
        n: Trials that the worker has room for, those in ``at_stop`` included.
        at_stop: Leases of its trials that have come as far as they should.
        memory: The scheduler's, of the last answer.
        structure_first: Decides the structure of new trials; None to leave it free.
    """
    n_places = sum(lease.is_held for lease in status.leases.values()) + n - len(at_stop)
    left, depth = status.epochs_left, _depth_left(status)
    shares = [] if left is None else [left / max(1, n_places)]
    shares += [] if depth is None else [depth]
    required = None if structure_first is None else structure_first.required()
    return Ask(
        n=n,
        n_new=status.n_new,
        epochs_left=min(shares, default=None),
        depth_left=depth,
        at_rung=tuple(lease.number for lease in at_stop),
        structural=() if structure_first is None else structure_first.names,
        structure=required,
        memory=memory,
    )


def requests_of(
    plan: Plan,
    chosen: Sequence[Advance | Start],
    view: StudyView,
    status: StudyStatus,
    *,
    is_out_of_patience: bool,
) -> AssignmentRequests:
    """Returns what a worker requests of the ledger by a plan.

    Args:
        plan: The scheduler's.
        chosen: Those of its assignments that the worker has room for, the most wanted first.
        view: The study's trials.
        status: Where they stand; a paused trial that is not there has ended meanwhile.
        is_out_of_patience: Whether the study begins no more trials by its ``patience``.
    """
    ordered = []
    for one in chosen:
        if not isinstance(one, Advance):
            ordered.append(AssignmentRequest(None, 0, one.epoch_stop))
            continue
        trial_id = view.trial_id(one.number)
        lease = status.leases.get(trial_id)
        if lease is not None:
            ordered.append(AssignmentRequest(trial_id, lease.epoch, one.epoch_stop))
    first = min((start.epoch_stop for start in plan.starts), default=None)
    return AssignmentRequests(
        ordered=tuple(ordered),
        first_stop=lowest_rung(view.curves) if first is None else first,
        finished_at=status.last_token if plan.finished else None,
        reason="patience" if is_out_of_patience else _end_reason(status),
    )


def _end_reason(status: StudyStatus) -> str:
    # Where new trials could begin there are no points left for them.
    return "budget" if status.n_new == 0 else "exhausted"


def _depth_left(status: StudyStatus) -> float | None:
    """Returns the epochs that one trial can have before the deadline; None for any number."""
    if status.seconds_left is None or not status.epoch_s:
        return None
    return status.seconds_left / status.epoch_s
