"""Columns of other rows are read as those of the study's table were, whatever a file looks like."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import TaskError
from hpo.tasks.tables.column_readings import Reading, read_rows
from hpo.tasks.tables.table_columns import again, find_columns
from hpo.tasks.tables.table_files import read_table

DOORS = ["1", "2", "3", "4", "5 or more"]


def readings(values: Any, n: int = 40) -> dict[str, Reading]:
    column = (list(values) * n)[:n]
    other = np.random.RandomState(0).normal(size=n)
    found = find_columns(pd.DataFrame({"c": column, "other": other})).readings
    return {"c": found["c"]}


def values(found: dict[str, Reading], column: Any) -> list[Any]:
    rows, _ = read_rows(pd.DataFrame({"c": column}), found)
    return [None if pd.isna(value) else value for value in rows["c"]]


def test_text_stays_text_where_a_file_looks_like_numbers() -> None:
    doors = readings(DOORS)
    assert doors["c"].kind == "text"
    # As pandas reads 1, 2 and an empty field.
    assert values(doors, [1.0, 2.0, np.nan]) == ["1", "2", None]
    assert values(doors, ["1", "5 or more", None]) == ["1", "5 or more", None]
    assert values(doors, pd.array([1, None], dtype="Int64")) == ["1", None]
    assert values(readings(["True", "False", "maybe"]), [True, False]) == ["True", "False"]


def test_booleans_and_numbers_by_their_values() -> None:
    old = readings([True, False])
    assert values(old, ["True", "false", "1", "0", ""]) == [1, 0, 1, 0, None]
    assert values(old, [1.0, 0.0, np.nan]) == [1, 0, None]
    size = readings([1, 2, 3])
    assert values(size, ["4", "4.5", "", "x"]) == [4, 4.5, None, None]
    rows = pd.DataFrame({"c": ["4", None, "x"]})
    assert read_rows(rows, size)[1] == ("column c: 1 of 3 values are no numbers, the first is 'x'",)


def test_the_decimal_comma_of_a_file_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n" + "".join(f"{i * i},5;x{i % 2}\n" for i in range(30)))
    found = find_columns(read_table(tmp_path / "t.csv")).readings
    assert Reading.from_plain(found["a"].to_plain() | {"from_later": 1}) == found["a"]
    (tmp_path / "new.csv").write_text("b;a\nx1;7\nx1;7,25\n")
    rows = again(read_table(tmp_path / "new.csv", as_text=True), found)
    assert rows["a"].tolist() == [7, 7.25]


def test_a_file_is_read_alike_with_and_without_a_gap(tmp_path: Path) -> None:
    text = "doors,old,since\n1,True,2024-01-31\n2,False,2024-02-01\n"
    (tmp_path / "new.csv").write_text(text)
    (tmp_path / "gap.csv").write_text(text + ",,\n")
    dates = pd.date_range("2024-01-01", periods=40).astype(str)
    table = {"doors": DOORS * 8, "old": [True, False] * 20, "since": dates}
    found = find_columns(pd.DataFrame(table)).readings
    full, gap = (
        again(read_table(tmp_path / f"{name}.csv", as_text=True), found) for name in ("new", "gap")
    )
    pd.testing.assert_frame_equal(full, gap.iloc[:2])
    assert full["doors"].tolist() == ["1", "2"]
    # As a user of pandas has it, too.
    pd.testing.assert_frame_equal(again(pd.read_csv(io.StringIO(text + ",,\n")), found), gap)
    with pytest.raises(TaskError, match=r"the rows have no column old; did you mean Old\?"):
        again(pd.read_csv(io.StringIO(text)).rename(columns={"old": "Old"}), found)
