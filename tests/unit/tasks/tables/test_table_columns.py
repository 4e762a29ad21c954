"""What each column of a table is to a model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.tasks.tables.column_readings import Reading, read_rows
from hpo.tasks.tables.table_columns import (
    TableColumns,
    as_numbers,
    as_ordered,
    describe,
    find_columns,
    left_out,
)


def find(values: Any, name: str = "c", n: int = 30) -> TableColumns:
    """Finds one column beside another that is always of use."""
    other = np.random.RandomState(0).normal(size=n)
    series = pd.Series(values if len(values) == n else (list(values) * n)[:n])
    return find_columns(pd.DataFrame({name: series, "other": other}))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        [1.5, float("nan"), 2.5],
        [True, False],
        [True, None, False],
        pd.array([1, None, 3] * 10, dtype="Int64"),
        pd.array([True, None, False] * 10, dtype="boolean"),
        pd.array([1.5, None, 3] * 10, dtype="float64[pyarrow]"),
        pd.to_timedelta([1, 2] * 15, unit="h"),
        ["1", "2.5", None],
        [1.0, float("inf")] + [2.0] * 3,
    ],
)
def test_numbers(values: Any) -> None:
    columns = find(values)
    assert columns.numeric == ["c", "other"]
    assert columns.frame["c"].dtype == np.float64
    assert not np.isinf(columns.frame["c"]).any()


@pytest.mark.parametrize(
    "values",
    [
        ["x", "y"],
        ["x", None],
        ["x", 1],
        pd.Categorical(["x", "y", None] * 10),
        pd.Categorical(["x", "y"] * 15),
        pd.array(["x", "y"] * 15, dtype="string[pyarrow]"),
        ["1,5", "x"],
    ],
)
def test_categories(values: Any) -> None:
    columns = find(values)
    assert columns.categorical == ["c"]
    assert {type(value) for value in columns.frame["c"].dropna()} == {str}


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["45,312", "1,200", "980"], [45312, 1200, 980]),
        (["$1,200", "$900.50", "$0"], [1200, 900.5, 0]),
        (["12 €", "1,5 €", "-3 €"], [12, 1.5, -3]),
        (["€ 12", "€1.234,5", "€ 3"], [12, 1234.5, 3]),
        (["92.8%", "7%", "100 %"], [92.8, 7, 100]),
        (["1.234,5", "12", "1.000.000,25"], [1234.5, 12, 1_000_000.25]),
        (["1e5", "2E-3", " 12 "], [1e5, 2e-3, 12]),
        (["(300)", "12", "(1,200.5)"], [-300, 12, -1200.5]),
        (["300-", "−12", "+5"], [-300, -12, 5]),
        (["1 234,5", "12,0", "7"], [1234.5, 12, 7]),
        (["1\u202f234", "2\xa0500", "7"], [1234, 2500, 7]),
        (["1'234.50", "7", "8"], [1234.5, 7, 8]),
        (["12,34,567", "1,00,000", "5"], [1234567, 100000, 5]),
        (["1.2M", "900K", "15"], [1.2e6, 9e5, 15]),
        (["$1.2B", "$900K", "$3M"], [1.2e9, 9e5, 3e6]),
        (["180 cm", "175 cm", "1,001 cm"], [180, 175, 1001]),
        (["10 km/h", "20 km/h", "5.5 km/h"], [10, 20, 5.5]),
        (["0,125", "1,250", "2,5"], [0.125, 1.25, 2.5]),
        (["NA", "1,200", "900"], [None, 1200, 900]),
        (["08:15", "20:30", "23:59:30"], [8.25, 20.5, 24 - 0.5 / 60]),
        (["8:15 am", "8:15 PM", "12:00 am"], [8.25, 20.25, 0]),
        (["TRUE", "false", "True"], [1, 0, 1]),
    ],
)
def test_numbers_as_people_write_them(texts: list[str], numbers: list[float | None]) -> None:
    columns = find(texts)
    assert columns.numeric == ["c", "other"]
    wanted = [np.nan if number is None else number for number in numbers] * 10
    np.testing.assert_allclose(columns.frame["c"], wanted)
    assert not columns.notices


def test_the_comma_is_what_it_is_in_the_rest_of_the_table() -> None:
    frame = pd.DataFrame({"a": ["1,234", "2,345", "7,5"] * 10, "b": ["1,234", "3,456", "12"] * 10})
    assert find_columns(frame).frame["b"].tolist()[:3] == [1.234, 3.456, 12]
    assert find_columns(frame[["b"]]).frame["b"].tolist()[:3] == [1234, 3456, 12]
    assert find_columns(frame[["b"]], decimal_comma=True).frame["b"].tolist()[0] == 1.234
    thousands = frame.assign(b=["1.234", "3.456", "12"] * 10)
    found = find_columns(thousands, decimal_comma=True).frame["b"]
    assert found.tolist()[:3] == [1234, 3456, 12]


def test_text_is_stripped() -> None:
    assert set(find([" x", "x ", "y"]).frame["c"]) == {"x", "y"}


@pytest.mark.parametrize(
    "values",
    [
        pd.date_range("2024-01-01 05:00", periods=30, freq="33h"),
        pd.date_range("2024-01-01 05:00", periods=30, freq="33h", tz="Europe/Berlin"),
        [f"2024-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 16)],
        ["2024-01-01", "9999-12-31", "2024-02-01"],
        [f"2024-01-{day:02}T{day % 24:02}:30:00Z" for day in range(1, 30)] + [None],
    ],
)
def test_dates_become_numbers(values: Any) -> None:
    columns = find(values)
    assert columns.numeric[:2] in (["c (day)", "c (month)"], ["c (day)", "c (weekday)"])
    assert not columns.categorical
    assert not columns.dropped


@pytest.mark.parametrize(
    ("texts", "third"),
    [
        (["31/12/2020", "01/02/2021", "15/03/2021"], "2021-03-15"),
        (["12/31/2020", "02/01/2021", "03/15/2021"], "2021-03-15"),
        (["2020/12/31", "2021/02/01", "2021/03/15"], "2021-03-15"),
        (["01.02.2021", "02.03.2021", "5.6.2021"], "2021-06-05"),
        (["2021-1-5", "2021-02-10", "2021-3-15"], "2021-03-15"),
        (["31/12/20", "01/02/21", "15/03/21"], "2021-03-15"),
        (["01/01/2021", "01/02/2021", "01/03/2021"], "2021-03-01"),
        (["31/12/2020 10:00", "01/02/2021 12:30", "15/03/2021 00:00"], "2021-03-15"),
        (["12/31/2020 1:00 PM", "02/01/2021 2:30 AM", "03/15/2021 12:00 AM"], "2021-03-15"),
        (["31 Dec 2020", "1 Feb 2021", "15 Mar 2021"], "2021-03-15"),
        (["Dec 31, 2020", "Feb 1, 2021", "Mar 15, 2021"], "2021-03-15"),
        (["31-Dec-20", "01-Feb-21", "15-Mar-21"], "2021-03-15"),
        (["2020-12", "2021-02", "2021-03"], "2021-03-01"),
        (["NA", "01.02.2021", "15.03.2021"], "2021-03-15"),
    ],
)
def test_dates_as_people_write_them(texts: list[str], third: str) -> None:
    columns = find(texts)
    assert columns.numeric[0] == "c (day)"
    days = (pd.Timestamp(third) - pd.Timestamp("1970-01-01")).days
    assert int(columns.frame["c (day)"][2]) == days
    assert not columns.dropped


def test_dates_that_may_be_of_either_month_are_left_out() -> None:
    texts = [f"{day:02}/{month:02}/2020" for day in range(1, 7) for month in range(1, 6)]
    assert find(texts).dropped == {
        "c": "holds dates whose day and month cannot be told apart, such as 01/01/2020; "
        "write 2024-12-31"
    }


def test_parts_of_a_date_do_not_take_the_names_of_others() -> None:
    days = pd.Series([f"2024-01-{day:02}" for day in range(1, 31)])
    other = np.random.RandomState(0).normal(size=30)
    columns = find_columns(pd.DataFrame({"c (day)": other, "c": days}))
    assert columns.numeric == ["c (day)", "c (day) 2", "c (weekday)"]
    assert columns.frame["c (day)"].tolist() == other.tolist()


def test_text_that_only_looks_like_dates_is_text() -> None:
    assert find(["2024-13-45", "2024-01-01"]).categorical == ["c"]


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        ([None] * 30, "c", "is empty"),
        ([5] * 30, "c", "is the same in every row"),
        (["x"] * 30, "c", "is the same in every row"),
        (range(100, 130), "c", "counts the rows"),
        (range(30, 0, -1), "c", "counts the rows"),
        ([i * i for i in range(30)], "customer_id", "is an id"),
        ([f"k{i}" for i in range(30)], "ID", "is an id"),
        ([f"name {i}" for i in range(30)], "c", "is text of its own in nearly every row"),
        (["2024-01-01"] * 30, "c", "is the same in every row"),
        ([[1, 2]] * 30, "c", "holds values of type list"),
        ([1j] * 30, "c", "holds complex numbers"),
    ],
)
def test_columns_of_no_use(values: Any, name: str, reason: str) -> None:
    columns = find(values, name)
    assert columns.dropped == {name: reason}
    assert columns.numeric == ["other"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([i * i for i in range(30)], "price"),
        ([1, 2, 3], "id"),
        ([f"name {i // 2}" for i in range(30)], "c"),
        ([5] * 29 + [None], "c"),
    ],
)
def test_columns_of_use(values: Any, name: str) -> None:
    assert find(values, name).dropped == {}


def test_a_counter_is_kept_where_nothing_else_is_there() -> None:
    columns = find_columns(pd.DataFrame({"x": range(50), "empty": [None] * 50}))
    assert columns.numeric == ["x"]
    assert columns.dropped == {"empty": "is empty"}


def test_no_column_of_use() -> None:
    columns = find_columns(pd.DataFrame({"x": [1] * 50}))
    assert columns.frame.empty
    assert find_columns(pd.DataFrame(index=range(3))).dropped == {}


def test_measurements_with_a_word_among_them_are_numbers() -> None:
    values = [*(i * i / 10 for i in range(40)), "-", "below 3"]
    columns = find(values, n=len(values))
    assert columns.numeric == ["c", "other"]
    assert columns.frame["c"].isna().sum() == 2
    said = "column c: 2 values that are no numbers count as missing: '-', 'below 3'"
    assert columns.notices == [said]


def test_dates_with_a_word_among_them_are_dates() -> None:
    values = [f"{day}.{month}.2020" for month in (1, 2) for day in range(1, 25)] + ["never"]
    columns = find(values, n=len(values))
    assert columns.numeric[0] == "c (day)"
    assert columns.notices == ["column c: 1 value that is no date counts as missing: 'never'"]


def test_few_numbers_with_a_word_among_them_are_categories() -> None:
    values = ["2", "3", "4", "5 or more", *["2"] * 96]
    assert find(values, n=len(values)).categorical == ["c"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([f"${i}" if i % 2 else f"{i} €" for i in range(1, 61)], "numbers that are not written"),
        ([f"{i}.1.2020" if i % 2 else f"{i}/1/20" for i in range(1, 32)], "dates that are not"),
        ([f"name {i}" for i in range(30)], "is text of its own in nearly every row"),
    ],
)
def test_columns_that_are_left_out_say_why(values: list[str], reason: str) -> None:
    columns = find(values, n=len(values))
    assert reason in columns.dropped["c"]
    assert f"left out 1 of 2 columns: c ({columns.dropped['c']})" == left_out(columns, 2)


def test_many_rare_texts_are_told() -> None:
    columns = find([f"town {i // 2}" for i in range(200)], n=200)
    assert columns.notices == [
        "column c has 100 different texts in 200 rows; only the 32 most frequent are told apart"
    ]
    assert find(["a", "b", "c"]).notices == []


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "index", "Row", "#"])
def test_a_saved_row_number_in_any_order(name: str) -> None:
    order = np.random.RandomState(1).permutation(30)
    assert find(order, name).dropped == {name: "is a saved row number"}
    assert find(order, "price").dropped == {}
    # A part of a table that was cut, or one that says so as text.
    assert find(order * 7, name).dropped == {name: "is a saved row number"}
    assert find([str(i) for i in order], name).dropped == {name: "is a saved row number"}
    assert find([1, 1, 2] * 10, name).dropped == {}


def test_row_numbers_of_tables_in_one_file() -> None:
    assert find([*range(15), *range(15)], "Unnamed: 0").dropped == {
        "Unnamed: 0": "is a saved row number"
    }


def test_a_counter_with_rows_left_out() -> None:
    frame = pd.DataFrame({"c": [1, 2, 4, 5, 6, 7], "x": [2.0, 1, 3, 1, 5, 4]})
    assert find_columns(frame, n_left_out=1).dropped == {"c": "counts the rows"}
    assert find_columns(frame).dropped == {}


def test_what_counts_as_missing() -> None:
    frame = pd.DataFrame({"c": ["None", "NA", "x"] * 10, "n": ["1", "NA", "-9"] * 10})
    usual = find_columns(frame)
    assert set(usual.frame["c"]) == {"None", "NA", "x"}
    np.testing.assert_array_equal(usual.frame["n"][:3], [1, np.nan, -9])
    own = find_columns(frame, missing=["NA", "-9"])
    assert set(own.frame["c"].dropna()) == {"None", "x"}
    np.testing.assert_array_equal(own.frame["n"][:3], [1, np.nan, np.nan])
    assert find_columns(frame, missing=[]).categorical == ["c", "n"]


def test_other_rows_are_read_as_the_table_was() -> None:
    frame = pd.DataFrame(
        {
            "doors": ["1", "2", "3", "5 or more", "2"] * 6,
            "price": ["$1,200", "$900", "$1,000", "NA", "$5"] * 6,
            "since": ["31/12/2020", "01/02/2021", "15/03/2021", "NA", "16/03/2021"] * 6,
            "open": ["08:15", "9:00", "NA", "10:30", "11:00"] * 6,
            "new": ["True", "False", "False", "True", "True"] * 6,
        }
    )
    found = find_columns(frame)
    readings = {k: Reading.from_plain(r.to_plain()) for k, r in found.readings.items()}
    assert readings == found.readings
    again, notices = read_rows(frame, readings)
    pd.testing.assert_frame_equal(again, found.frame)
    assert notices == ()
    # An empty cell makes pandas read numbers where there was text; here is a stranger in each.
    rows = pd.DataFrame(
        {
            "new": [1.0, 0.0, None],
            "doors": [1.0, np.nan, 7.0],
            "price": ["$2,000", None, "2 pounds"],
            "since": ["02/01/2021", pd.NA, "tomorrow"],
            "open": ["12:30", "", "noon"],
            "more": [1, 2, 3],
        }
    )
    again, notices = read_rows(rows, readings)
    assert again["doors"].tolist()[0] == "1"
    assert again["price"].tolist()[0] == 2000
    assert again["since (month)"].tolist()[0] == 1
    assert again["open"].tolist()[0] == 12.5
    assert again["new"].tolist()[:2] == [1, 0]
    assert notices == (
        "column doors: 1 of 3 values are no categories of the study, the first is '7'",
        "column price: 1 of 3 values are no numbers, the first is '2 pounds'",
        "column since: 1 of 3 values are no dates, the first is 'tomorrow'",
        "column open: 1 of 3 values are no times of day, the first is 'noon'",
    )
    assert describe(found)["read"] == {
        "price": "',' between thousands, in $",
        "since": "day/month/year",
        "open": "time of day",
    }


def test_columns_to_order_by_and_to_predict() -> None:
    ordered = as_ordered(pd.Series(["31/12/2020", "01/02/2021"]))
    assert ordered is not None
    assert ordered.is_monotonic_increasing
    assert as_ordered(pd.Series(["a", "b"])) is None
    numbers = as_numbers(pd.Series(["$1,200", "$900"]))
    assert numbers is not None
    assert numbers.tolist() == [1200, 900]
    assert as_numbers(pd.Series(["True", "False"])) is None
    assert as_numbers(pd.Series([*map(str, range(99)), "x"])) is None
