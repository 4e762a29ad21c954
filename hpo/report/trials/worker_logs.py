"""Worker logs: what the processes of a study have printed, of all its trials or of one."""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from hpo.run.files.artifacts import Artifacts
from hpo.run.link.trial_log import STAMP, mark_of
from hpo.run.scripts.script_output import OUTPUT
from hpo.run.scripts.tailed_file import TailedFile

_STAMP_LENGTH: Final = len("2026-01-31 12:00:00,000")


class LogLine(NamedTuple):
    """A line of a log.

    Attributes:
        stamp: The local time of this line, or of the last one before it that has a time.
        source: Whose log it is: ``worker-0``, ``trial-3``.
    """

    stamp: str
    source: str
    text: bytes


@dataclass
class TrialFilter:
    """Keeps the lines of a worker's log that were written while the worker held a trial.

    Args:
        number: The trial.
        holds_one: The worker holds one trial at a time.

    Attributes:
        was_found: A line of the trial was found.
        others: Trials that the worker held at the same time, whose lines these may be.
    """

    number: int
    holds_one: bool
    was_found: bool = False
    others: set[int] = field(default_factory=set)
    _held: set[int] = field(default_factory=set)

    def keeps(self, line: bytes) -> bool:
        """Returns whether a line may be of the trial; call it with each line in order."""
        mark = mark_of(line)
        if mark is None:
            return self.number in self._held
        if mark.number is None:
            self._held.clear()
            return False
        if mark.kind == "begins":
            self._held = {mark.number} | (set() if self.holds_one else self._held)
        elif mark.kind == "ends":
            self._held.discard(mark.number)
        is_own = mark.number == self.number
        self.was_found |= is_own
        if self.number in self._held:
            self.others |= self._held - {self.number}
        return is_own


class WorkerLog:
    """The log of a worker on this machine, or of the workers that were in its place before.

    Args:
        path: Its file.
        trial: Keeps the lines of one trial; None for all lines.
    """

    def __init__(self, path: Path, trial: TrialFilter | None = None) -> None:
        self.source = path.stem
        self.trial = trial
        self._file = TailedFile(path)
        self._stamp = ""
        self._is_of_others = False

    def lines(self, *, final: bool) -> Iterator[LogLine]:
        """Yields the lines that were added since the last call.

        Args:
            final: The last line may lack its end.
        """
        for line in self._file.lines(final=final):
            if STAMP.match(line):
                self._stamp = line[:_STAMP_LENGTH].decode()
            if self._keeps(line):
                yield LogLine(self._stamp, self.source, line)

    def _keeps(self, line: bytes) -> bool:
        if self.trial is None:
            return True
        keeps = self.trial.keeps(line)
        mark = mark_of(line)
        if mark is not None or STAMP.match(line):
            # The traceback of another trial's failure follows its line.
            self._is_of_others = mark is not None and mark.kind == "failed" and not keeps
        return keeps and not self._is_of_others


class TrialOutput:
    """The output of the command of a trial.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self.source = path.parent.name
        self._file = TailedFile(path)

    def lines(self, *, final: bool) -> Iterator[LogLine]:
        """Yields the lines that were added since the last call; see `WorkerLog.lines`."""
        stamp = ""
        for line in self._file.lines(final=final):
            stamp = stamp or _changed_at(self._file.path)
            yield LogLine(stamp, self.source, line)


class StudyLogs:
    """The logs of a study on this machine.

    Args:
        files: Of the study.
        number: A trial whose lines are kept; None for all lines.
        runs_command: Its trials are commands, which have outputs of their own.
        holds_one: Its workers train one trial at a time.
    """

    def __init__(
        self, files: Artifacts, number: int | None = None, *, runs_command: bool, holds_one: bool
    ) -> None:
        self._folder = files.folder
        self._number = number
        self._runs_command = runs_command
        self._holds_one = holds_one
        self._workers: dict[Path, WorkerLog] = {}
        self._outputs: dict[Path, TrialOutput] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there is no log; call `lines` before."""
        return not self._workers and not self._outputs

    @property
    def has_several(self) -> bool:
        """Whether lines have come from more than one source."""
        if self._number is not None:
            return len(self._found) > 1
        return len(self._workers) + len(self._outputs) > 1

    @property
    def was_found(self) -> bool:
        """Whether a log names the trial."""
        return bool(self._found)

    @property
    def _found(self) -> list[TrialFilter]:
        trials = [log.trial for log in self._workers.values() if log.trial is not None]
        return [trial for trial in trials if trial.was_found]

    @property
    def others(self) -> set[int]:
        """Trials that were trained along with the trial."""
        return set[int]().union(*(trial.others for trial in self._found))

    def lines(self, *, final: bool) -> Iterator[LogLine]:
        """Yields the lines that were added since the last call, by their times.

        Args:
            final: Last lines may lack their ends.
        """
        self._look()
        workers = [log.lines(final=final) for log in self._workers.values()]
        return heapq.merge(*workers, self._output_lines(final=final), key=lambda line: line.stamp)

    def _output_lines(self, *, final: bool) -> Iterator[LogLine]:
        # One after the other: there may be more than a process may open.
        for path in sorted(self._outputs, key=_changed_at):
            yield from self._outputs[path].lines(final=final)

    def _look(self) -> None:
        for path in sorted((self._folder / "logs").glob("worker-*.log")):
            if path not in self._workers:
                trial = None
                if self._number is not None:
                    trial = TrialFilter(self._number, self._holds_one)
                self._workers[path] = WorkerLog(path, trial)
        if self._runs_command and self._number is None:
            for path in (self._folder / "trials").glob(f"trial-*/{OUTPUT}"):
                self._outputs.setdefault(path, TrialOutput(path))


def _changed_at(path: Path) -> str:
    try:
        changed = datetime.datetime.fromtimestamp(path.stat().st_mtime)
    except OSError:
        return ""
    return changed.isoformat(sep=" ", timespec="milliseconds").replace(".", ",")
