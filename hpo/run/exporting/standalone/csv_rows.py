"""CSV rows: a table read from text with the standard library, every cell as text."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_READERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_TEXT_ENDINGS: Final = (".csv", ".tsv", ".txt")
_LONGEST_CELL: Final = 2**31 - 1


class InputError(ValueError):
    """Input that cannot be predicted; its text says why."""


def read_csv_rows(
    path: Path, separator: str | None = None, encoding: str | None = None
) -> list[dict[str, str]]:
    """Reads the rows of a table, as hpo does.

    Args:
        path: A CSV or TSV file, also compressed (.gz, .bz2, .xz).
        separator: Field separator; None to infer it from the first line.
        encoding: Encoding; None for UTF-8, UTF-16 with a byte order mark, or else Windows-1252.

    Returns:
        The cells of each row by the name of its column.

    Raises:
        InputError: The file is no such table.
    """
    ending = path.with_suffix("").suffix if path.suffix.lower() in _READERS else path.suffix
    if ending.lower() not in _TEXT_ENDINGS:
        raise InputError(f"{path.name} must be one of {', '.join(_TEXT_ENDINGS)} by its name")
    text = _decoded(path, encoding)
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise InputError(f"{path.name} is empty")
    chosen = separator or max(",;\t|", key="".join(first.split('"')[::2]).count)
    csv.field_size_limit(_LONGEST_CELL)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=chosen, skipinitialspace=True)
    filled = [cells for cells in lines if any(cell.strip() for cell in cells) or len(cells) > 1]
    header = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(filled[0])]
    return _rows(path, header, filled[1:])


def _rows(
    path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]
) -> list[dict[str, str]]:
    twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if twice is not None:
        raise InputError(f"{path.name} has several columns called {twice!r}")
    if not lines:
        raise InputError(f"{path.name} has no rows")
    if any(len(cells) > len(header) for cells in lines):
        raise InputError(f"{path.name} has rows with more fields than its header")
    return [dict(zip(header, cells)) for cells in lines]  # noqa: B905 - rows may be short


def _decoded(path: Path, encoding: str | None) -> str:
    try:
        content = path.read_bytes()
        content = _READERS.get(path.suffix.lower(), bytes)(content)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode(encoding or ("utf-16" if is_wide else "utf-8-sig"))
    except (UnicodeError, LookupError) as error:
        if encoding is None and b"\0" not in content[:65_536]:
            return content.decode("cp1252", errors="replace")
        raise InputError(f"{path.name} is not {encoding or 'UTF-8'} text") from error


def as_cell(value: Any) -> str:
    """Returns a value as the text of a cell: 1 for 1.0, and nothing for a missing value."""
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, float) and abs(value) < 1e15 and value.is_integer():
        return str(int(value))
    return str(value).strip()
