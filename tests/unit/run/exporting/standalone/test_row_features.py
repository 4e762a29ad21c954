"""Cells read with the standard library are what pandas and hpo make of them."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.run.exporting.standalone.csv_rows import InputError, read_csv_rows
from hpo.run.exporting.standalone.row_features import encode_rows
from hpo.tasks.tables.column_readings import read_rows
from hpo.tasks.tables.table_columns import TableColumns, find_columns
from hpo.tasks.tables.table_files import read_table

FRAME = pd.DataFrame(
    {
        "plain": ["1.5", "2", "-3e2", "NA", "7"] * 8,
        "money": ["$1,200", "$900", "$12,345", "$0.5", ""] * 8,
        "percent": ["1,5 %", "22 %", "3,25 %", "0", "7 %"] * 8,
        "many": ["900k", "1.2M", "3", "4k", "5.5k"] * 8,
        "coded": ["1", "2", "5 or more", "1", "2"] * 8,
        "since": ["31/12/2020", "01/02/2021", "15/03/2021", "", "7/8/2022"] * 8,
        "when": [f"2021-0{i % 9 + 1}-11 1{i % 9}:30" for i in range(40)],
        "month": ["Mar 2020", "Apr 2021", "May 2021", "Jun 2021", "Mar 2023"] * 8,
        "at": ["8:15", "8:30 pm", "23:59:59.5", "0:00", ""] * 8,
        "old": ["true", "False", "TRUE", "false", ""] * 8,
    }
)
STRANGE = pd.DataFrame(
    {
        "plain": [" 2.50 ", "inf", "1e400", "?", "$3", "x"],
        "money": ["1200", "$1,2", "($300)", "€5", "−$4", ""],
        "percent": ["5", "5 %", "1.5 %", "n/a", "-2 %", "%"],
        "many": ["2bn", "1,000", "7M", "", "k", "1e3"],
        "coded": ["1.0", "5 OR MORE", "", "2.00", "9", "5 or more"],
        "since": ["2021-02-03", "3/2/2021", "31/02/2021", "1.2.2021", "12/31/2020", "x"],
        "when": ["2021-02-03T04:05:06+02:00", "9999-12-31", "20210203", "2021", "2021-2-3", "x"],
        "month": ["mar 2020", "March 2020", "2020-03-01", "Mär 2020", "", "13 2020"],
        "at": ["24:00", "13:00 pm", "9:61", "9", "12:00 am", "x"],
        "old": ["1", "0", "yes", "True", "FALSE ", "x"],
    }
)


def table_of(columns: TableColumns) -> dict[str, Any]:
    known = {
        name: [text for text in dict.fromkeys(columns.frame[name]) if isinstance(text, str)]
        for name in columns.categorical
    }
    return {
        "columns": {name: reading.to_plain() for name, reading in columns.readings.items()},
        "numeric": columns.numeric,
        "categorical": known,
    }


@pytest.mark.parametrize("rows", [FRAME, STRANGE], ids=["usual", "strange"])
def test_every_kind_of_column(rows: pd.DataFrame) -> None:
    columns = find_columns(FRAME.replace("", np.nan))
    assert {reading.kind for reading in columns.readings.values()} == {
        *("number", "text", "date", "time", "boolean")
    }
    table = table_of(columns)
    expected, _ = read_rows(rows.replace("", np.nan), columns.readings)
    numbers, codes = encode_rows(rows.to_dict("records"), table)
    np.testing.assert_array_equal(numbers.numpy(), expected[columns.numeric].to_numpy())
    for i, name in enumerate(columns.categorical):
        texts = table["categorical"][name]
        places = [texts.index(t) if t in texts else len(texts) for t in expected[name]]
        assert codes[:, i].tolist() == places


def test_values_of_python_and_names_with_spaces() -> None:
    table = table_of(find_columns(FRAME[["plain", "coded", "when", "old"]]))
    row = {" plain ": 2, "coded": 5.0, "when": date(2021, 3, 4), "old": True}
    empty = {"plain": None, "coded": math.nan, "when": "", "old": None}
    numbers, codes = encode_rows([row, empty], table)
    assert numbers[0, 0] == 2
    assert numbers[1].isnan().all()
    assert codes[1].item() == len(table["categorical"]["coded"])
    with pytest.raises(InputError, match="the rows have no column coded, old"):
        encode_rows([{"plain": 1, "when": "2021-01-01"}], table)


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,x\n\n2,"y, z"\n',
        "a;b\r\n1,5;x\r\n;\r\n",
        "\ufeffa\tb\n 1\t x\n2\t\n",
        "a,,b\n1,2,3\n4,5\n",
    ],
)
def test_tables_of_text_are_read_as_pandas_reads_them(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    expected = read_table(path, as_text=True).fillna("").to_dict("records")
    found = read_csv_rows(path)
    assert [{name: row.get(name, "").strip() for name in expected[0]} for row in found] == [
        {name: str(value).strip() for name, value in row.items()} for row in expected
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "is empty"),
        ("x.csv", b"a,b\n", "has no rows"),
        ("x.csv", b"a,a\n1,2\n", "several columns called 'a'"),
        ("x.csv", b"a\n1,2\n", "more fields than its header"),
        ("x.csv", b"a\n\x00\xff\n", "is not UTF-8 text"),
        ("x.parquet", b"", "must be one of .csv, .tsv, .txt"),
        ("x.csv.gz", b"no", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_csv_rows(tmp_path / name)


def test_old_encodings(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes("town\nKöln\n".encode("cp1252"))
    assert read_csv_rows(path) == [{"town": "Köln"}]
    path.write_bytes("town\nKöln\n".encode("utf-16"))
    assert read_csv_rows(path) == [{"town": "Köln"}]
