"""Useless columns: row numbers, ids and constants, from which a model must not learn."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpo.tasks.tables.column_kinds import FEW_VALUES

# Text that differs in nearly every row is a name, an address or prose, not a category.
_MOST_DISTINCT: Final = 0.9
_ID_NAME: Final = re.compile(r"(?:^|[_\W])(?:id|uuid|guid)$", re.IGNORECASE)
# Names that pandas, R and spreadsheets give to a saved row number.
_INDEX_NAME: Final = re.compile(
    r"Unnamed: \d+(?:\.\d+)*|index|idx|level_0|__index_level_\d+__|#|nr\.?|no\.?"
    r"|s(?:l|r)?[ ._]?no\.?|row[ ._-]?(?:names?|num(?:ber)?|nr|no|id|index)?|rn",
    re.IGNORECASE,
)
_NAMELESS: Final = re.compile(r"Unnamed: \d+(?:\.\d+)*")
_MIN_COUNTED: Final = 3
_MOST_STEPS: Final = 0.9
_N_TOLD_APART: Final = 32
_HALF: Final = 0.5

COUNTER: Final = "counts the rows"
INDEX: Final = "is a saved row number"
CONSTANT: Final = "is the same in every row"
PROSE: Final = "is text of its own in nearly every row"


def uselessness(name: str, values: NDArray[Any], n_left_out: int = 0) -> str:
    """Returns why a column of numbers or text is useless to a model, or an empty text.

    Args:
        name: Name of the column.
        values: Numbers or text, with NaN for missing values.
        n_left_out: Number of rows of the table that were left out.
    """
    present = values[~pd.isna(values)]
    is_text = values.dtype.kind != "f"
    n_distinct = len(set(present)) if is_text else len(np.unique(present))
    if n_distinct + (len(present) < len(values)) < 2:
        return CONSTANT
    is_unique = n_distinct == len(present)
    if is_unique and len(present) > FEW_VALUES and _ID_NAME.search(name):
        return "is an id"
    if is_text:
        is_prose = n_distinct > max(FEW_VALUES, _MOST_DISTINCT * len(present))
        return PROSE if is_prose else ""
    if len(values) < _MIN_COUNTED or len(present) < len(values) or (values % 1).any():
        return ""
    steps = np.diff(values)
    # The count of a table that lost rows has gaps.
    n_gaps = abs(values[-1] - values[0]) + 1 - len(values)
    if (np.all(steps > 0) or np.all(steps < 0)) and n_gaps <= n_left_out:
        return COUNTER
    return INDEX if _is_index(name, steps, is_unique=is_unique) else ""


def _is_index(name: str, steps: NDArray[Any], *, is_unique: bool) -> bool:
    """Returns whether whole numbers are row numbers of another order of the file."""
    if is_unique and _INDEX_NAME.fullmatch(name):
        return True
    # Concatenated tables, each with its own row numbers.
    return bool(_NAMELESS.fullmatch(name)) and float(np.mean(steps == 1)) >= _MOST_STEPS


def crowd_notice(name: str, values: NDArray[Any]) -> str:
    """Returns a notice if most rows have a category too rare for a column, or an empty text."""
    counts = Counter(value for value in values if isinstance(value, str))
    if len(counts) <= _N_TOLD_APART:
        return ""
    kept = sum(n for _, n in counts.most_common(_N_TOLD_APART) if n > 1)
    n_present = sum(counts.values())
    if kept >= _HALF * n_present:
        return ""
    return (
        f"column {name} has {len(counts):,} different texts in {n_present:,} rows; "
        f"only the {_N_TOLD_APART} most frequent are told apart"
    )
