"""What is typed after `hpo update`, `hpo retry` and the like, and how it is answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from hpo.cli.commands.steering.orders import listed
from hpo.cli.commands.steering.update import changed, hours_until, parse_deadline
from hpo.errors import SpecError
from hpo.report.text.formatting import NO_LIMIT
from hpo.spec.study_spec import Budget, StudySpec

NOW = datetime(2031, 5, 1, 12, 0)
SPEC = StudySpec(
    name="s",
    task="digits-mlp",
    metric="val_accuracy",
    budget=Budget(trials=60, hours=2.0),
    space={"learning_rate": {"low": 0.1, "high": 1.0}},
)


@pytest.fixture
def two_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XXX-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("two_hours_east")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("+2h", datetime(2031, 5, 1, 14, 0)),
        ("+1.5 h", datetime(2031, 5, 1, 13, 30)),
        ("+90min", datetime(2031, 5, 1, 13, 30)),
        ("+1d", datetime(2031, 5, 2, 12, 0)),
        ("18:00", datetime(2031, 5, 1, 16, 0)),
        ("9:30", datetime(2031, 5, 2, 7, 30)),
        ("14:00", datetime(2031, 5, 2, 12, 0)),
        ("2031-05-03T18:00", datetime(2031, 5, 3, 16, 0)),
        ("2031-05-03 18:00:30", datetime(2031, 5, 3, 16, 0, 30)),
        ("2031-05-03T18:00Z", datetime(2031, 5, 3, 18, 0)),
        ("2031-05-03T18:00-05:00", datetime(2031, 5, 3, 23, 0)),
    ],
)
def test_deadlines(given: str, expected: datetime) -> None:
    assert parse_deadline(given, NOW) == expected


@pytest.mark.parametrize("given", ["", "soon", "25:00", "+2 weeks", "+h", "2031-13-01"])
def test_what_is_no_deadline(given: str) -> None:
    with pytest.raises(SpecError, match="write \\+2h, 18:00 or"):
        parse_deadline(given, NOW)


def test_a_deadline_becomes_hours_since_the_study_began() -> None:
    assert hours_until(datetime(2031, 5, 1, 14, 30), NOW) == 2.5
    with pytest.raises(SpecError, match="before the study began"):
        hours_until(NOW, NOW)


def test_a_budget_is_changed_entry_by_entry() -> None:
    assert changed(SPEC, {"trials": 100}) == Budget(trials=100, hours=2.0)
    assert changed(SPEC, {"trials": NO_LIMIT, "epochs": 9}) == Budget(hours=2.0, epochs=9)
    with pytest.raises(SpecError, match="s would never end; set one of trials, "):
        changed(SPEC, {"trials": NO_LIMIT, "hours": NO_LIMIT})
    with pytest.raises(SpecError, match="budget"):
        changed(SPEC, {"total_epochs": 10**12})


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([5], "trial 5"), ([5, 6, 9], "trials 5, 6 and 9"), (range(9), "9 trials")],
)
def test_numbers_are_listed_while_they_are_few(numbers: list[int], expected: str) -> None:
    assert listed(numbers) == expected
