"""Compiled statements: compiled once, and then passed to the driver as they are.

SQLAlchemy's own way from a statement and its values to the driver takes longer than most of the
ledger's statements run. Its knowledge of the database stays in use: the dialect's SQL, the
conversion of values, the pool, the events, the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from hpo.store.db import multirow_insert

Row = Mapping[str, Any]
_Write = Callable[[Any], Any]


def run(conn: sa.Connection, statement: sa.Executable, row: Row) -> sa.CursorResult[Any]:
    """Runs a statement; the result is as the driver returns it.

    Args:
        conn: In a transaction.
        statement: Always the same object, as it is compiled once.
        row: Values of its parameters.
    """
    ready = _ready(statement, tuple(row), conn.dialect)
    return conn.exec_driver_sql(ready.text, ready.values(row))


def run_many(conn: sa.Connection, statement: sa.Executable, rows: Sequence[Row]) -> None:
    """Inserts rows, which have the same columns."""
    ready = _ready(statement, tuple(rows[0]), conn.dialect)
    values = [ready.values(row) for row in rows]
    if conn.dialect.name != "mysql" or len(rows) == 1:
        conn.exec_driver_sql(ready.text, values)
        return
    driver: Any = conn.connection.driver_connection
    for text in multirow_insert.statements(ready.text, values, driver.escape):
        conn.exec_driver_sql(text, execution_options={"no_parameters": True})


class _Ready(NamedTuple):
    """A statement in the driver's SQL.

    Attributes:
        text: With the driver's own placeholders.
        values: Converts a row to what the driver takes for them.
    """

    text: str
    values: Callable[[Row], Any]


@lru_cache(maxsize=512)
def _ready(statement: Any, columns: tuple[str, ...], dialect: sa.Dialect) -> _Ready:
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    names = tuple(compiled.positiontup if compiled.positional else compiled.binds)
    writers: dict[str, _Write] = {}
    constants: dict[str, Any] = {}
    for name in names:
        bind = compiled.binds[name]
        write = bind.type.dialect_impl(dialect).bind_processor(dialect)
        if name not in columns:
            constants[name] = bind.value if write is None else write(bind.value)
        elif write is not None:
            # Most rows of a statement have the same times and states.
            writers[name] = lru_cache(maxsize=16, typed=True)(write)
    return _Ready(compiled.string, _values(names, writers, constants, compiled.positional))


def _values(
    names: tuple[str, ...],
    writers: Mapping[str, _Write],
    constants: Mapping[str, Any],
    is_positional: bool,
) -> Callable[[Row], Any]:
    """Returns the conversion of a row, for a driver with positional or named placeholders."""
    in_order = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    if is_positional and not writers and not constants:
        return in_order

    def values(row: Row) -> Any:
        given = {**constants, **row}
        for name, write in writers.items():
            given[name] = write(given[name])
        return in_order(given) if is_positional else given

    return values
