"""Table files: a table read from CSV, TSV or Parquet, or a one-line error."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import logging
import lzma
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpo.errors import Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)

TEXT_SUFFIXES: Final = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES: Final = (".parquet", ".pq")

_OPENERS: Final[Mapping[str, Callable[[Path], Any]]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_SEPARATORS: Final = ",;\t|"
_COMMA_FREE: Final = ";"
_HEAD_BYTES: Final = 65_536
# Encoding of Windows programs in western Europe and America.
_OLD_ENCODING: Final = "cp1252"


def wrong(option: str, message: str) -> SpecError:
    """Returns the error for a wrong option of the task."""
    return SpecError(source="the study", problems=[Problem(f"task_options.{option}", message)])


def read_table(
    path: Path,
    separator: str | None = None,
    encoding: str | None = None,
    *,
    as_text: bool = False,
) -> DataFrame:
    """Reads a table with named columns.

    Only an empty cell of a text file is missing; words such as NA stay text, as their meaning
    depends on the column. ``attrs["decimal_comma"]`` is true if the separator permits decimal
    commas.

    Args:
        path: A ``.csv``, ``.tsv`` or ``.txt`` file, also compressed (``.gz``, ``.bz2``, ``.xz``),
            or a ``.parquet`` file.
        separator: Field separator of a text file; None to infer it from the first line.
        encoding: Encoding of a text file, by Python's name; None for UTF-8, UTF-16 with a byte
            order mark, or else Windows-1252.
        as_text: Whether every cell of a text file stays text, for another table's readings;
            otherwise columns of plain numbers are numbers.

    Returns:
        The rows with a plain index; all column names are text and differ.

    Raises:
        SpecError: There is no such file, or it holds no table.
    """
    _require_file(path)
    if separator is not None and len(separator) != 1:
        raise wrong("separator", f"must be a single character; found {separator!r}")
    plain = path.with_suffix("") if path.suffix.lower() in _OPENERS else path
    suffix = plain.suffix.lower()
    if suffix not in (*TEXT_SUFFIXES, *PARQUET_SUFFIXES):
        allowed = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES[:1]))
        raise wrong("data", f"{path.name} must be one of {allowed} by its name")
    try:
        if suffix in PARQUET_SUFFIXES:
            frame = _read_parquet(path)
        else:
            frame = _read_encoded(path, separator, encoding, as_text=as_text)
    except UnicodeError as error:
        known = encoding or "UTF-8"
        raise wrong("data", f"{path.name} is not {known} text; save it as UTF-8") from error
    except (ValueError, OSError, EOFError, lzma.LZMAError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise wrong("data", f"{path.name} cannot be read: {reason}") from error
    names = [str(name).strip() for name in frame.columns]
    # The name that pandas gives to a column without one.
    frame.columns = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    _require_names(path, list(frame.columns))
    if frame.empty:
        raise wrong("data", f"{path.name} has no rows")
    return frame


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise wrong("data", f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise wrong("data", f"no file {path.name} in {path.parent}, which is no folder either")
    files = [file.name for file in path.parent.iterdir() if file.is_file()]
    raise wrong("data", f"no file {path.name} in {path.parent}{did_you_mean(path.name, files)}")


def _require_names(path: Path, names: Sequence[str]) -> None:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        is_number = twice.replace(".", "", 1).lstrip("+-").isdigit()
        ask = "; is its first line no header?" if is_number else ""
        raise wrong("data", f"{path.name} has several columns called {twice!r}{ask}")


def _read_parquet(path: Path) -> DataFrame:
    import pandas

    frame = pandas.read_parquet(path)
    # pandas separates a named index from the columns; here it is a column.
    has_name = any(name is not None for name in frame.index.names)
    return frame.reset_index(drop=not has_name)


def _read_encoded(
    path: Path, separator: str | None, encoding: str | None, *, as_text: bool
) -> DataFrame:
    if encoding is not None:
        _require_encoding(encoding)
        return _read_text(path, separator, encoding, as_text=as_text)
    try:
        return _read_text(path, separator, as_text=as_text)
    except UnicodeError:
        # Any bytes are valid in this encoding, but text holds no NUL.
        with _OPENERS.get(path.suffix.lower(), _open)(path) as binary:
            if b"\0" in binary.read(_HEAD_BYTES):
                raise
        frame = _read_text(path, separator, _OLD_ENCODING, as_text=as_text)
    say_once(
        f"{path.name} is not UTF-8 text; read as Windows-1252 (task_options.encoding names another)"
    )
    return frame


@cache
def say_once(message: str) -> None:
    """Logs a warning once, even if the process reads the table again."""
    logger.warning("%s", message)


def _require_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise wrong("encoding", f"no encoding is called {encoding!r}; such as latin-1") from None


def _read_text(
    path: Path, separator: str | None, given: str | None = None, *, as_text: bool
) -> DataFrame:
    import pandas

    with _OPENERS.get(path.suffix.lower(), _open)(path) as binary:
        head = binary.read(_HEAD_BYTES)
        if not head.strip():
            raise wrong("data", f"{path.name} is empty")
        binary.seek(0)
        marked = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        encoding = given or marked
        # The head may end inside a character; the whole file is decoded strictly.
        first = head.decode(encoding, errors="ignore")
        chosen = separator or _separator(first)
        # pandas would rename a duplicate to "name.1" without a warning.
        _require_names(path, _header(first, chosen))
        # Files with semicolons may write 1,5 for numbers and 1.234 for thousands.
        decimal_comma = chosen == _COMMA_FREE
        with io.TextIOWrapper(binary, encoding=encoding, newline="") as text:
            frame = pandas.read_csv(
                text,
                sep=chosen,
                skipinitialspace=True,
                dtype=object if as_text or decimal_comma else None,
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
            )
    if not isinstance(frame.index, pandas.RangeIndex):
        raise wrong("data", f"{path.name} has rows with more fields than its header")
    frame.attrs["decimal_comma"] = decimal_comma
    return frame


def _open(path: Path) -> Any:
    return path.open("rb")


def _separator(text: str) -> str:
    """Returns the most frequent separator of the first line, outside of quotes."""
    line = next(line for line in text.splitlines() if line.strip())
    outside = "".join(line.split('"')[::2])
    return max(_SEPARATORS, key=outside.count)


def _header(text: str, separator: str) -> list[str]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    # Columns without a name are distinguished by their position.
    return [name.strip() for name in next((row for row in rows if row), []) if name.strip()]
