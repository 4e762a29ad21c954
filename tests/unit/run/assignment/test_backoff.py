"""Backoff: when a worker that was given nothing claims again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpo.run.assignment.backoff import Backoff, BackoffSettings
from hpo.store.ledger.leases import LeaseStatus, StudyStatus

STATUS = StudyStatus(
    last_token=7, epochs=9, n_new=3, epochs_left=None, leases={1: LeaseStatus(True, 2, 3)}
)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_worker_that_trains_waits_after_an_empty_claim() -> None:
    clock = Clock()
    backoff = Backoff(BackoffSettings(quiet_s=0.5), clock)
    assert not backoff.is_quiet(1)
    backoff.note_empty(STATUS, {1})
    assert backoff.is_quiet(1)
    clock.now_s += 0.6
    assert not backoff.is_quiet(1)


def test_it_does_not_wait_once_a_trial_of_its_own_has_ended_or_none_is_left() -> None:
    backoff = Backoff(clock=Clock())
    backoff.note_empty(STATUS, {1, 2})
    assert [backoff.is_quiet(n) for n in (0, 1, 2)] == [False, False, True]
    backoff.note_empty(STATUS, ())
    assert not backoff.is_quiet(0)


def test_a_claim_that_brings_trials_ends_the_wait() -> None:
    backoff = Backoff(clock=Clock())
    backoff.note_empty(STATUS, {1})
    backoff.note_granted()
    assert not backoff.is_quiet(1)


def test_a_lone_worker_claims_in_vain_once_whatever_the_clock_says() -> None:
    clock = Clock()
    backoff = Backoff(clock=clock)
    assert not backoff.is_pointless(STATUS, {1})
    backoff.note_empty(STATUS, {1})
    clock.now_s += 3600
    assert backoff.is_pointless(STATUS, {1})


@pytest.mark.parametrize(
    "status",
    [
        replace(STATUS, last_token=8),
        replace(STATUS, epochs=12),
        replace(STATUS, n_new=4),
        replace(STATUS, leases={**STATUS.leases, 5: LeaseStatus(True, 0, 1)}),
    ],
)
def test_a_change_makes_another_claim_worth_while(status: StudyStatus) -> None:
    backoff = Backoff(clock=Clock())
    backoff.note_empty(STATUS, {1})
    assert not backoff.is_pointless(status, {1})


def test_so_does_a_trial_of_its_own_that_ended_but_not_one_that_others_have_left() -> None:
    backoff = Backoff(clock=Clock())
    backoff.note_empty(STATUS, {1})
    assert not backoff.is_pointless(STATUS, {1, 2})
    left = replace(STATUS, leases={**STATUS.leases, 5: LeaseStatus(False, 1, 1)})
    assert backoff.is_pointless(left, {1})
    # Without a trial of its own a worker has nothing better to do.
    backoff.note_empty(STATUS, ())
    assert not backoff.is_pointless(replace(STATUS, leases={}), ())
