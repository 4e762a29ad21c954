"""Lists as tables, JSON and CSV."""

import datetime
import io
import json
import math
from typing import Any

from rich.console import Console

from hpo.report.text.text_tables import by_key, print_table, to_csv, to_json

ROWS: list[dict[str, Any]] = [
    {"name": "a", "value": 0.98333, "params": {"depth": 2}},
    {"name": "long name", "value": None, "params": {"depth": 10}},
]
COLUMNS = (by_key("name"), by_key("value", right=True), by_key("more", optional=True))


def _printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, COLUMNS, ROWS)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_table_has_no_trailing_blanks() -> None:
    assert _printed(80) == [
        " name        value  more",
        " a          0.9833  -",
        " long name       -  -",
    ]


def test_a_narrow_terminal_leaves_optional_columns_out_and_says_so() -> None:
    assert _printed(24) == [
        " name        value",
        " a          0.9833",
        " long name       -",
        " 1 more column: -f json",
    ]


def test_json_is_exact_and_strict() -> None:
    row = {
        "value": 0.1 + 0.2,
        "nan": math.nan,
        "infinite": [math.inf, -math.inf],
        "at": datetime.datetime(2025, 1, 31, 12),
        "name": "Größe",
    }
    assert json.loads(to_json([row]), parse_constant=lambda name: 1 / 0) == [
        {
            "value": 0.30000000000000004,
            "nan": None,
            "infinite": ["inf", "-inf"],
            "at": "2025-01-31T12:00:00.000000Z",
            "name": "Größe",
        }
    ]


def test_csv_has_a_column_for_each_nested_entry_and_its_header_without_rows() -> None:
    assert to_csv(ROWS) == "name,value,params.depth\na,0.98333,2\nlong name,,10\n"
    assert to_csv([], ["name", "value"]) == "name,value\n"


def test_csv_quotes_what_needs_it() -> None:
    assert to_csv([{"a": 'x,"y"\n', "b": ["v", 1]}]) == 'a,b\n"x,""y""\n","[""v"", 1]"\n'
