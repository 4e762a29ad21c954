"""What tells a trial that takes long from one that hangs."""

from __future__ import annotations

from hpo.run.link.watchdog import Watchdog, hung, overtime
from hpo.store.ledger.leases import Lease

LEASE = Lease(
    study_id=1,
    trial_id=7,
    number=3,
    worker_id=1,
    token=5,
    attempt=1,
    epoch=0,
    epoch_stop=9,
    checkpoint=None,
)


class Clock:
    """Seconds that the test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_call_is_overdue_when_it_alone_takes_longer_than_a_trial_may() -> None:
    clock = Clock()
    watch = Watchdog(clock)
    with watch.watch([LEASE]):
        clock.now_s += 10.0
        assert watch.seconds == 10.0
        assert watch.overdue(10.0) == ()
        assert watch.overdue(9.0) == (LEASE,)
        assert watch.overdue(None) == ()
    assert watch.seconds == 0.0
    assert watch.overdue(0.0) == ()


def test_each_call_counts_from_zero() -> None:
    clock = Clock()
    watch = Watchdog(clock)
    for _ in range(3):
        with watch.watch([LEASE]):
            clock.now_s += 10.0
            assert watch.overdue(15.0) == ()


def test_waiting_for_the_database_does_not_count() -> None:
    clock = Clock()
    watch = Watchdog(clock)
    with watch.watch([LEASE]):
        clock.now_s += 1.0
        with watch.paused():
            clock.now_s += 1000.0
            assert watch.seconds == 1.0
        clock.now_s += 2.0
        assert watch.seconds == 3.0
    with watch.paused():
        clock.now_s += 5.0
    assert watch.seconds == 0.0


def test_a_call_that_raises_counts_no_longer() -> None:
    clock = Clock()
    watch = Watchdog(clock)
    try:
        with watch.watch([LEASE]), watch.paused():
            raise ValueError
    except ValueError:
        clock.now_s += 50.0
    assert watch.seconds == 0.0
    assert watch.overdue(0.0) == ()


def test_messages_give_the_numbers() -> None:
    assert overtime(7200.0, 4, 7200.0) == ""
    assert overtime(1e9, 4, None) == ""
    assert overtime(9000.0, 4, 7200.0) == (
        "took 2.50 h for 4 epochs; a trial may take 2.00 h (trial_hours = 2)"
    )
    assert overtime(90.0, 1, 72.0).startswith("took 1.5 min for 1 epoch; ")
    assert overtime(4.0, None, 3.6) == ("took 4.0 s; a trial may take 3.6 s (trial_hours = 0.001)")
    assert hung(8.0, 3.6) == (
        "its code has not come back for 8.0 s; a trial may take 3.6 s (trial_hours = 0.001)"
    )
