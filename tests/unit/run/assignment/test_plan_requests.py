"""Plan requests: what a scheduler is asked, and how its plan reaches the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpo.run.assignment.plan_requests import ask_of, requests_of
from hpo.run.assignment.structural_params import StructuralParams
from hpo.run.assignment.structure_first import StructureFirst
from hpo.run.assignment.study_view import StudyView
from hpo.search.base.decisions import Advance, Plan, Start
from hpo.search.base.rungs import lowest_rung
from hpo.store.ledger.leases import AssignmentRequest, LeaseStatus, StudyStatus
from tests.kits.study_changes import PARAMS, SPEC, changes, lease, trial
from tests.kits.toy import Digits

STATUS = StudyStatus(
    last_token=7,
    epochs=4,
    n_new=3,
    epochs_left=None,
    leases={100: LeaseStatus(True, 1, 1), 101: LeaseStatus(False, 2, 2)},
)


@pytest.fixture
def view() -> StudyView:
    found = StudyView(SPEC)
    found.update(changes(trial(0), trial(1), trial(2), t0=(True, 1, 1), t1=(False, 2, 2)))
    return found


def test_epochs_that_are_left_are_shared_by_the_places_of_all_workers() -> None:
    status = replace(STATUS, epochs_left=12)
    # One place is taken elsewhere or here, and two more are free.
    assert ask_of(status, 2, (), {}, None).epochs_left == 4
    # The trial at its stop has a place already.
    assert ask_of(status, 2, (lease(0, 1),), {}, None).epochs_left == 6
    assert ask_of(STATUS, 2, (), {}, None).epochs_left is None


def test_the_deadline_limits_how_deep_one_trial_can_be_trained() -> None:
    status = replace(STATUS, seconds_left=60.0, epoch_s=20.0)
    ask = ask_of(status, 2, (), {}, None)
    assert (ask.depth_left, ask.epochs_left) == (3.0, 3.0)
    assert ask_of(replace(status, epoch_s=None), 2, (), {}, None).depth_left is None


def test_the_scheduler_learns_which_trials_wait_and_what_new_ones_must_share() -> None:
    first = StructureFirst(StructuralParams(Digits(), 100, SPEC.space), 4)
    first.note([{**PARAMS, "width": 8}])
    ask = ask_of(STATUS, 2, (lease(0, 1),), {"seen": 1}, first)
    assert (ask.n, ask.n_new, ask.at_rung, ask.memory) == (2, 3, (0,), {"seen": 1})
    assert (ask.structural, ask.structure) == (("depth",), {"depth": 2})


def test_a_plan_is_requested_in_its_order_from_where_trials_stand(view: StudyView) -> None:
    plan = Plan((Advance(1, 4), Start(3, None, 2), Advance(0, 3), Start(4, None, 1)))
    requests = requests_of(plan, plan.assignments, view, STATUS, is_out_of_patience=False)
    assert requests.ordered == (
        AssignmentRequest(101, 2, 4),
        AssignmentRequest(None, 0, 2),
        AssignmentRequest(100, 1, 3),
        AssignmentRequest(None, 0, 1),
    )
    # Enqueued trials begin like the most modest of the new ones.
    assert (requests.first_stop, requests.finished_at) == (1, None)


def test_a_trial_that_has_ended_meanwhile_is_not_requested(view: StudyView) -> None:
    plan = Plan((Advance(2, 4), Advance(1, 4)))
    requests = requests_of(plan, plan.assignments, view, STATUS, is_out_of_patience=False)
    assert [one.trial_id for one in requests.ordered] == [101]
    assert requests.first_stop == lowest_rung(view.curves)


@pytest.mark.parametrize(
    ("n_new", "is_out_of_patience", "reason"),
    [
        (0, False, "budget"),
        (3, False, "exhausted"),
        (None, False, "exhausted"),
        (0, True, "patience"),
    ],
)
def test_a_finished_plan_ends_the_study_if_nothing_is_granted_meanwhile(
    view: StudyView, n_new: int | None, is_out_of_patience: bool, reason: str
) -> None:
    status = replace(STATUS, n_new=n_new)
    requests = requests_of(
        Plan((), finished=True), (), view, status, is_out_of_patience=is_out_of_patience
    )
    assert (requests.finished_at, requests.reason) == (7, reason)
