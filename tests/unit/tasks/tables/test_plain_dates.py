"""Dates read without pandas are those that pandas reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hpo.tasks.tables import dates, plain_dates
from hpo.tasks.tables.column_readings import as_dates

MOMENTS = pd.to_datetime(
    ["1969-12-31 23:59:58", "2000-02-29 00:00:00", "2024-12-01 12:05:09", "2031-07-30 23:10:00"]
)
PATTERNS = (
    *("%d/%m/%Y", "%m/%d/%Y %H:%M", "%d.%m.%y", "%Y-%m-%d %I:%M %p", "%Y/%m/%dT%H:%M:%S"),
    *("%d %b %Y", "%d. %B %Y %H:%M:%S", "%b %d, %Y", "%B %Y", "%b-%y", "%Y-%m", "%m/%Y"),
    "%d-%m-%Y %H:%M:%S.%f",
)
ISO = (
    *("2024-01-05", "2024-1-5", "2024-01", "2024", "20240105", "2024-01-05T10:11", "2024/01/05"),
    *("2024-01-05 10:11:12.5", "2024-01-05T10:11:12Z", "2024-01-05T10:11:12+0200"),
    *("2024-01-05 23:11:12 -02:30", "2024-01-05T101112", "2024-01-05 10", "1500-03-01"),
    *("2024-02-30", "05/01/2024", "nan", "2024-01-05 24:00", "202401", "12024-01-05"),
    *("2024-01-05T10:11:12,5", "2024-W01", "2024-001", "x"),
)


def assert_alike(texts: list[str], pattern: str) -> None:
    expected = dates.all_parts(as_dates(pd.Series(texts, dtype=object), pattern))
    for i, text in enumerate(texts):
        date = plain_dates.parse_date(text, pattern)
        found = [
            np.nan if date is None else plain_dates.date_part(date, part) for part in dates.PARTS
        ]
        np.testing.assert_array_equal(found, [expected[p][i] for p in dates.PARTS], err_msg=text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_formats_with_names_of_months_and_halves_of_the_day(pattern: str) -> None:
    texts = [moment.strftime(pattern) for moment in MOMENTS]
    assert all(plain_dates.parse_date(text, pattern) for text in texts)
    assert_alike([*texts, texts[0].upper(), f"{texts[1]}1", "2021-03-04", "no date"], pattern)


def test_iso_8601() -> None:
    assert_alike(list(ISO), dates.ISO)


@pytest.mark.parametrize("text", ["8:15", "8:15 pm", "12:00 AM", "24:00", "25:00", "9:60", "x"])
def test_times_of_day(text: str) -> None:
    assert plain_dates.hours(text) == dates.hours(text)


@pytest.mark.parametrize(
    "text", ["1 days", "2 days 03:04:05.5", "-1 days +23:59:59", "00:00:10", "x", ""]
)
def test_durations(text: str) -> None:
    expected = pd.to_timedelta(pd.Series([text], dtype=object), errors="coerce").dt.total_seconds()
    found = plain_dates.duration_s(text)
    np.testing.assert_array_equal(np.nan if found is None else found, expected[0])
