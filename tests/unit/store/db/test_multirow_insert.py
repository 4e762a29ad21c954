"""Many rows in one INSERT for MySQL, as its driver would have written them."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest

from hpo.store.db import multirow_insert

INSERT = "INSERT INTO t (a, b) VALUES (%(a)s, %(b)s) ON DUPLICATE KEY UPDATE a = t.a"


@pytest.fixture
def connection() -> Any:
    pymysql = pytest.importorskip("pymysql")
    found = pymysql.connections.Connection(defer_connect=True)
    found.server_status = 0
    return found


def test_values_are_written_as_the_driver_writes_them(connection: Any) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678)
    pairs = [
        (1, 0.1),
        (-(2**62), 1e300),
        (None, 5e-324),
        ('100 %s\'s \\ "x"\n\0', moment),
        ("💡", -0.0),
    ]
    rows = [{"b": b, "a": a} for a, b in pairs]
    (text,) = multirow_insert.statements(INSERT, rows, connection.escape)
    theirs = connection.cursor().mogrify(
        INSERT.replace("(%(a)s, %(b)s)", ", ".join(["(%s, %s)"] * len(pairs))),
        [value for pair in pairs for value in pair],
    )
    assert text == theirs


def test_a_statement_has_no_more_than_a_server_takes(connection: Any) -> None:
    rows = [{"a": i, "b": "x" * 300_000} for i in range(10)]
    texts = list(multirow_insert.statements(INSERT, rows, connection.escape))
    assert len(texts) == math.ceil(10 / 3)
    assert all(text.endswith(") ON DUPLICATE KEY UPDATE a = t.a") for text in texts)
    assert sum(text.count("xxx'") for text in texts) == 10
