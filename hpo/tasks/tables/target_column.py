"""Target column of a table: a classification or a regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pandas import Series
from pandas.api import types

from hpo.tasks.tables.table_columns import as_numbers
from hpo.tasks.tables.table_files import wrong
from hpo.train.data.arrays import Kind

# Whole numbers are classes if few are distinct and each occurs in many rows.
_FEW_CLASSES: Final = 20
_ROWS_PER_CLASS: Final = 10
_KINDS: Final = ("auto", "classification", "regression")


@dataclass(frozen=True, eq=False)
class TargetColumn:
    """A target column without missing values.

    Attributes:
        values: Numbers or text, of shape [N].
        kind: Classification or regression.
    """

    values: NDArray[Any]
    kind: Kind


def read_target(column: Series, kind: str) -> TargetColumn:
    """Reads the target of a table.

    With ``auto``, text and booleans are classes. Whole numbers are classes if two are distinct, or
    at most 20 with 10 rows each on average; other numbers are a regression.

    Args:
        column: The target without missing values, with at least one row.
        kind: ``auto``, ``classification`` or ``regression``.

    Raises:
        SpecError: The column cannot be predicted, or not as this kind.
    """
    require_kind(kind)
    name = str(column.name)
    if types.is_datetime64_any_dtype(column.dtype):
        raise wrong("target", f"{name} holds dates; a target holds numbers or classes")
    if not column.map(_is_single).all():
        raise wrong("target", f"{name} must hold one value a row")
    n_distinct = column.nunique()
    if n_distinct < 2:
        raise wrong("target", f"{name} is {column.iloc[0]!s} in every row; nothing to be learnt")
    numbers = None if types.is_bool_dtype(column.dtype) else as_numbers(column)
    if kind == "auto":
        kind = _kind(numbers, n_distinct)
    if kind == "regression":
        if numbers is None or numbers.isna().any():
            raise wrong("target", _no_number(column, numbers))
        return TargetColumn(numbers.to_numpy(dtype=np.float64), "regression")
    _require_few(name, n_distinct, len(column), is_numeric=numbers is not None)
    values = column.map(lambda v: str(v).strip()) if numbers is None else numbers
    return TargetColumn(values.to_numpy(dtype=str if numbers is None else float), "classification")


def require_kind(kind: Any) -> None:
    """Refuses an unknown kind.

    Raises:
        SpecError: The kind is unknown; the message lists the allowed ones.
    """
    if kind not in _KINDS:
        raise wrong("kind", f"must be {', '.join(_KINDS[:-1])} or {_KINDS[-1]}; found {kind!r}")


def _is_single(value: Any) -> bool:
    return not isinstance(value, list | dict | tuple | set | np.ndarray | bytes)


def _kind(numbers: Series | None, n_distinct: int) -> str:
    if numbers is None:
        return "classification"
    is_whole = bool((numbers == numbers.round()).all())
    few = n_distinct <= _FEW_CLASSES and n_distinct * _ROWS_PER_CLASS <= len(numbers)
    return "classification" if is_whole and (n_distinct == 2 or few) else "regression"


def _require_few(name: str, n_distinct: int, n_rows: int, *, is_numeric: bool) -> None:
    if n_distinct * 2 > n_rows:
        cure = '; set kind = "regression"' if is_numeric else "; is it the right column?"
        raise wrong(
            "target", f"{name} has {n_distinct:,} classes in {n_rows:,} rows, too many{cure}"
        )


def _no_number(column: Series, numbers: Series | None) -> str:
    if numbers is None:
        alone = (value for value in column if as_numbers(Series([value])) is None)
        first = next(alone, column.iloc[0])
    else:
        first = column[numbers.isna()].iloc[0]
    return f"{column.name} must hold finite numbers for a regression; found {first!s}"
