"""Numbers and times as people read them."""

import datetime

import pytest

from hpo.report.text import formatting

NOW = datetime.datetime(2025, 1, 31, 12)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.98333, "0.9833"),
        (-0.5, "-0.5000"),
        (12.3456, "12.35"),
        (1.2345e-5, "1.234e-05"),
        (0.0, "0"),
        (1.0, "1"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (None, "-"),
    ],
)
def test_number(value: float | None, written: str) -> None:
    assert formatting.number(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "-"),
        (0.0131, "13 ms"),
        (0.41, "0.4 s"),
        (3.0, "3 s"),
        (59.0, "59 s"),
        (119.0, "119 s"),
        (300.0, "5 min"),
        (7200.0, "2 h"),
        (3 * 86400.0, "3 d"),
    ],
)
def test_duration(seconds: float | None, written: str) -> None:
    assert formatting.duration(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(3.2, "3 s ago"), (0.2, "now"), (-5, "now"), (180, "3 min ago"), (2.9, "3 s ago")],
)
def test_ago(seconds: float, written: str) -> None:
    assert formatting.ago(NOW - datetime.timedelta(seconds=seconds), NOW) == written


def test_ago_of_never() -> None:
    assert formatting.ago(None, NOW) == "-"


@pytest.mark.parametrize(
    ("per_second", "written"),
    [
        (6.12, "6.1 trials/s"),
        (250.0, "250 trials/s"),
        (1.01, "1.0 trials/s"),
        (0.2, "12 trials/min"),
        (0.001, "3.6 trials/h"),
        (0.0001, "0.36 trials/h"),
    ],
)
def test_rate(per_second: float, written: str) -> None:
    assert formatting.rate(per_second) == written


def test_clock() -> None:
    assert [formatting.clock(s) for s in (-1, 9, 61.6, 93790)] == [
        "0:00:00",
        "0:00:09",
        "0:01:02",
        "26:03:10",
    ]


def test_times_for_programs_say_that_they_are_utc() -> None:
    assert formatting.utc_iso(NOW) == "2025-01-31T12:00:00.000000Z"
    assert formatting.utc_iso(None) is None


def test_last_line_of_a_traceback_is_what_went_wrong() -> None:
    assert formatting.last_line("Traceback ...\n  File x\nValueError: no\n\n") == "ValueError: no"
    assert formatting.last_line("") == ""
