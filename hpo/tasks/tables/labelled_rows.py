"""Labelled rows: the rows of a table that have a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from pandas import DataFrame, Series

from hpo.tasks.tables.column_readings import MISSING_WORDS, shortened
from hpo.tasks.tables.table_columns import as_numbers
from hpo.tasks.tables.table_files import wrong
from hpo.tasks.tables.target_column import read_target

MIN_ROWS: Final = 10


@dataclass(frozen=True, eq=False)
class Labelled:
    """The rows of a table that have a target.

    Attributes:
        frame: The rows, with a plain index.
        notices: Notices about the other rows, a line each.
    """

    frame: DataFrame
    notices: list[str]


def known_rows(frame: DataFrame, target: str, kind: str, missing: Sequence[str] | None) -> Labelled:
    """Returns the rows whose target is known.

    An empty cell is missing. Words such as NA are classes, unless all other values are the numbers
    of a regression, or the study names the texts that are missing.

    Args:
        frame: The table as read from the file.
        target: The column to predict.
        kind: Kind of the target, as for ``read_target``.
        missing: The texts that count as missing; None for the default.

    Raises:
        SpecError: There are too few rows.
    """
    column = frame[target]
    texts = column.map(lambda v: v.strip() if isinstance(v, str) else "", na_action="ignore")
    is_empty = column.isna() | (texts.eq("") & column.map(lambda v: isinstance(v, str)))
    words = _missing_words(column[~is_empty], kind) if missing is None else missing
    is_word = texts.isin(list(words)) & ~is_empty
    known = frame[~is_empty & ~is_word].reset_index(drop=True)
    notices = _notices(frame, target, is_empty, texts[is_word])
    if missing is None:
        notices += _classes_like_missing(texts[~is_empty & ~is_word], target)
    if len(known) < MIN_ROWS:
        n = len(known)
        rows = f"{n} row{'s' * (n != 1)}"
        raise wrong("data", f"has {rows} with a {target}; it takes at least {MIN_ROWS}")
    return Labelled(known, notices)


def _missing_words(present: Series, kind: str) -> Collection[str]:
    """Returns the default words if all other values are the numbers of a regression."""
    is_word = present.map(lambda v: isinstance(v, str) and v.strip() in MISSING_WORDS)
    is_word = is_word.astype(bool)
    numbers = present[~is_word]
    if kind == "classification" or not is_word.any() or not len(numbers):
        return ()
    if as_numbers(numbers) is None or numbers.nunique() < 2:
        return ()
    is_regression = kind == "regression" or read_target(numbers, "auto").kind == "regression"
    return MISSING_WORDS if is_regression else ()


def _notices(frame: DataFrame, target: str, is_empty: Series, words: Series) -> list[str]:
    n_empty, n_words, shown = int(is_empty.sum()), len(words), shortened(target)
    if not n_empty + n_words:
        return []
    left_out = f"left out {n_empty + n_words:,} of {len(frame):,} rows without a {shown}"
    if not n_words:
        return [left_out]
    found = [f"{n_empty:,} are empty"] if n_empty else []
    found += [f"{count:,} hold {word!r}" for word, count in Counter(words).most_common(3)]
    return [f"{left_out}: {', '.join(found)} (task_options.missing says what is missing)"]


def _classes_like_missing(texts: Series, target: str) -> list[str]:
    counts = Counter(text for text in texts if text in MISSING_WORDS)
    shown = shortened(target)
    return [
        f"{n:,} row{'s' * (n != 1)} of {shown} hold{'s' * (n == 1)} {word!r}, which is a class; "
        f'missing = ["{word}"] in [task_options] leaves them out'
        for word, n in counts.items()
    ]
