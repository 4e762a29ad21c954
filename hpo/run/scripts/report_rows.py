"""Report rows: what a script says of an epoch, in a line of JSON, a row of a CSV or a printed line.

A source reads the files of one trial from their start, so that it also finds what was written
before an interruption and not read any more.
"""

from __future__ import annotations

import csv
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from hpo.run.scripts.script_output import without_escapes
from hpo.run.scripts.tailed_file import TailedFile
from hpo.tracebacks import shortened

EPOCH: Final = "epoch"
_LONGEST_PRINTED: Final = 4096
"""In characters; a pattern may take long over a longer line."""
_MOST_BYTES: Final = 64 << 20
# A CSV is read anew when it has changed, and at most for this part of the time.
_CSV_SHARE: Final = 0.05

Complain: TypeAlias = Callable[[str], None]
"""Takes a message about a line that cannot be used; it names the file and the line."""


@dataclass(frozen=True)
class ReportRow:
    """What was said of one epoch, or of a part of it.

    Attributes:
        epoch: As the script counts; None where it does not.
        metrics: Numbers by name.
    """

    epoch: int | None
    metrics: Mapping[str, float]


class RowSource(Protocol):
    """Finds rows in what a script writes."""

    def rows(self, *, final: bool = False) -> Iterator[ReportRow]:
        """Yields what is new since the last call.

        Args:
            final: Whether the script has ended, so that nothing is half written.
        """


@dataclass
class JsonLines(RowSource):
    """The source ``metrics.jsonl``: an object a line, with an epoch and metrics.

    Args:
        path: The file.
        complain: Called for each line that is no such object.
    """

    path: Path
    complain: Complain
    _file: TailedFile = field(init=False)

    def __post_init__(self) -> None:
        self._file = TailedFile(self.path)

    def rows(self, *, final: bool = False) -> Iterator[ReportRow]:
        """Yields the new lines."""
        for line in self._file.lines(final=final):
            if not line.strip():
                continue
            where = f"{self.path.name}:{self._file.n_lines}"
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                text = shortened(line.decode(errors="replace"), 80)
                self.complain(f"{where} is no JSON object and was ignored: {text!r}")
                continue
            yield from self._row(found, where)

    def _row(self, found: dict[str, Any], where: str) -> Iterator[ReportRow]:
        epoch = found.pop(EPOCH, None)
        if epoch is not None and _whole(epoch) is None:
            self.complain(f"{where} was ignored: epoch is {shortened(repr(epoch), 80)}")
            return
        numbers = {str(name): _number(value) for name, value in found.items()}
        metrics = {name: value for name, value in numbers.items() if value is not None}
        yield ReportRow(_whole(epoch), metrics)


@dataclass
class PrintedLines(RowSource):
    """The lines that a script prints and that match a pattern.

    Carriage returns end lines, and colours are left out.

    Args:
        path: The file with what it printed.
        pattern: With a named group for each metric; a group ``epoch`` counts.
        names: Metric by group, where they differ.
    """

    path: Path
    pattern: str
    names: Mapping[str, str]
    _file: TailedFile = field(init=False)

    def __post_init__(self) -> None:
        self._file = TailedFile(self.path, carriage_returns=True)
        self._search = re.compile(self.pattern).search

    def rows(self, *, final: bool = False) -> Iterator[ReportRow]:
        """Yields the new lines that match."""
        for line in self._file.lines(final=final):
            text = without_escapes(line.decode(errors="replace"))[:_LONGEST_PRINTED]
            match = self._search(text)
            if match is None:
                continue
            groups = match.groupdict()
            epoch = groups.pop(EPOCH, None)
            numbers = {self.names.get(g, g): _number(text) for g, text in groups.items()}
            metrics = {name: value for name, value in numbers.items() if value is not None}
            if metrics:
                yield ReportRow(None if epoch is None else _whole(epoch), metrics)


@dataclass
class CsvRows(RowSource):
    """The rows of CSVs with a header, such as those of Lightning's ``CSVLogger``.

    Empty cells are no values. A file that was replaced by a shorter one is read anew. Lightning
    rewrites a file when a column is added, so a changed file is read as a whole.

    Args:
        folder: The trial's.
        pattern: Path relative to it, or absolute; ``**`` and ``*`` stand for folders and parts of
            names.
        complain: Called once for a file that cannot be read.
    """

    folder: Path
    pattern: str
    complain: Complain
    _n_read: dict[Path, int] = field(default_factory=dict)
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _next_at: float = 0.0

    def rows(self, *, final: bool = False) -> Iterator[ReportRow]:
        """Yields the new rows, older files first."""
        began_s = time.monotonic()
        if began_s < self._next_at and not final:
            return
        for path in self._paths():
            yield from self._rows_of(path, final)
        now_s = time.monotonic()
        self._next_at = now_s + (now_s - began_s) / _CSV_SHARE

    def _paths(self) -> list[Path]:
        path = self.folder / self.pattern
        if not any(char in self.pattern for char in "*?["):
            found = [path] if path.is_file() else []
        else:
            parts = Path(path.anchor), str(path.relative_to(path.anchor))
            inside = not Path(self.pattern).is_absolute()
            root, pattern = (self.folder, self.pattern) if inside else parts
            found = [path for path in root.glob(pattern) if path.is_file()]
        stats = [(path, path.stat()) for path in found]
        return [path for path, _ in sorted(stats, key=lambda pair: (pair[1].st_mtime, pair[0]))]

    def _rows_of(self, path: Path, final: bool) -> Iterator[ReportRow]:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._seen.get(path) == stamp and not final:
                return
            if status.st_size > _MOST_BYTES:
                self.complain(f"{path.name} is larger than {_MOST_BYTES >> 20} MiB; it is not read")
                return
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            return
        self._seen[path] = stamp
        # The last row may be half written.
        text = text if final else text[: text.rfind("\n") + 1]
        records = list(csv.DictReader(text.replace("\0", "").splitlines()))
        n_read = self._n_read.get(path, 0)
        if len(records) < n_read:
            n_read = 0
        self._n_read[path] = len(records)
        for record in records[n_read:]:
            yield _row_of_csv(record)


def _row_of_csv(record: Mapping[Any, Any]) -> ReportRow:
    numbers = {
        name.strip(): _number(text)
        for name, text in record.items()
        if isinstance(name, str) and isinstance(text, str) and text.strip()
    }
    epoch = numbers.pop(EPOCH, None)
    metrics = {name: value for name, value in numbers.items() if value is not None}
    return ReportRow(_whole(epoch), metrics)


def _number(value: Any) -> float | None:
    """Returns a number, also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        # A percentage is what people print.
        text = str(value).strip()
        return _number(text[:-1]) if text.endswith("%") else None


def _whole(value: Any) -> int | None:
    """Returns a number of an epoch, ``3`` or ``3.0``; None for anything else."""
    number = _number(value)
    if number is None or not math.isfinite(number) or number != int(number) or number < 0:
        return None
    return int(number)
