"""Running script: the command of one trial, its reports, and how it is told to end."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpo.run.scripts.epoch_collection import CollectedEpoch, EpochCollection
from hpo.run.scripts.report_rows import CsvRows, JsonLines, PrintedLines, RowSource
from hpo.run.scripts.report_socket import ReportSocket
from hpo.run.scripts.script_environment import ScriptTrial, script_environment
from hpo.run.scripts.script_output import OUTPUT, end_last_line, note_resumed, saved_files
from hpo.run.scripts.script_process import ScriptProcess
from hpo.spec.command_line import fill, fill_text
from hpo.spec.report_section import group_of, groups_of
from hpo.spec.study_spec import StudySpec

REPORTS: Final = "metrics.jsonl"


@dataclass(frozen=True)
class ScriptSettings:
    """Settings of a script.

    Attributes:
        grace_s: Seconds that a script may take to save and to end once it is told, and again after
            SIGTERM before it is killed. Source: judgement; Kubernetes gives as many.
        poll_s: Seconds between two looks at what it reports. Source: judgement, short beside an
            epoch; not measured.
        natural_s: Seconds that a script which reports without the socket may take to exit after
            its last report, before it is stopped. Source: judgement; not measured.
        save_s: Seconds that such a script may take to write what it saves after a report. Source:
            judgement; not measured.
    """

    grace_s: float = 30.0
    poll_s: float = 0.05
    natural_s: float = 0.5
    save_s: float = 10.0


class RunningScript:
    """The command of one trial.

    Args:
        spec: The study.
        trial: The trial as the script sees it.
        continues: Whether a script that does not count its epochs continues its count when it is
            run again.
        complain: Called with a message about a report that cannot be used.
        settings: How long things may take.

    Attributes:
        socket: Where the script asks whether to stop.
        epochs: What it reports.
        output: File with what it prints.
        was_signalled: Whether it was told to end, by the socket or a signal.
    """

    def __init__(
        self,
        spec: StudySpec,
        trial: ScriptTrial,
        *,
        continues: bool,
        complain: Callable[[str], None],
        settings: ScriptSettings = ScriptSettings(),
    ) -> None:
        assert spec.command is not None
        self.output = trial.folder / OUTPUT
        self.was_signalled = False
        self._spec = spec
        self._trial = trial
        self._settings = settings
        self._process: ScriptProcess | None = None
        self.epochs = EpochCollection(spec.metrics, trial.reported, continues)
        self._sources = _sources(spec, trial, complain)
        self.socket = ReportSocket(self.epochs.number_of)

    @property
    def pid(self) -> int:
        """Process group of the script; 0 before it runs."""
        return 0 if self._process is None else self._process.pid

    def start(self, base_dir: Path, url: str) -> None:
        """Starts the command in its study's folder.

        Args:
            base_dir: Where it runs.
            url: The database's, whose password it does not get.

        Raises:
            OSError: The command or the trial's folder cannot be used.
        """
        trial = self._trial
        assert self._spec.command is not None
        trial.folder.mkdir(parents=True, exist_ok=True)
        trial.params_file.write_text(json.dumps(dict(trial.params), indent=1) + "\n", "utf-8")
        note_resumed(self.output)
        end_last_line(trial.folder / REPORTS)
        self.epochs.begin()
        args = fill(self._spec.command, trial.placeholders)
        environment = script_environment(os.environ, url, trial, self.socket.path)
        self._process = ScriptProcess(args, base_dir, environment, self.output)

    def wait(self) -> None:
        """Waits for a question of the script, for a short time."""
        self.socket.wait(self._settings.poll_s)

    def new_epochs(self, *, final: bool = False) -> list[CollectedEpoch]:
        """Returns the epochs that it has reported since the last call.

        Args:
            final: Whether it has ended, so that nothing is half written.
        """
        rows = [row for source in self._sources for row in source.rows(final=final)]
        found = (self.epochs.add(row) for row in rows)
        return [epoch for epoch in found if epoch is not None]

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self, *, may_end: bool = False, epoch_s: float = 0.0) -> int | None:
        """Ends the script: by the socket if it listens, else by SIGTERM, at last by SIGKILL.

        Args:
            may_end: Whether it has just reported, so that it may save now, or end by itself.
            epoch_s: Seconds of its last epoch.

        Returns:
            Its exit code.
        """
        if self._process is None:
            return None
        if self.socket.is_used:
            self.was_signalled = True
            self._wait_for_end(self._settings.grace_s, listening=True)
        elif may_end:
            self._wait_for_end(self._settings.natural_s)
            self._wait_for_save(epoch_s)
        if self.poll() is None:
            self.was_signalled = True
            self._process.terminate()
            self._wait_for_end(self._settings.grace_s)
        self._process.close()
        return self.poll()

    def close(self) -> None:
        """Ends what is left of the script, and removes its socket."""
        if self._process is not None:
            self._process.close()
        self.socket.close()

    def _wait_for_save(self, epoch_s: float) -> None:
        """Waits until the script does not write into the trial's folder, or has ended.

        A script may save just after it has reported, and a file that is half written is of no use.
        """
        ends_at = time.monotonic() + self._settings.save_s
        # A part of an epoch: a script with short epochs saves again and again.
        quiet_s = min(self._settings.natural_s, epoch_s / 4)
        before, now = None, saved_files(self._trial.folder)
        while before != now and self.poll() is None and time.monotonic() < ends_at:
            self._wait_for_end(quiet_s)
            before, now = now, saved_files(self._trial.folder)

    def _wait_for_end(self, limit_s: float, *, listening: bool = False) -> None:
        ends_at = time.monotonic() + limit_s
        while self.poll() is None and time.monotonic() < ends_at:
            self.socket.wait(self._settings.poll_s)
            if listening:
                self.socket.answer(self.epochs.last, stop=True)


def _sources(
    spec: StudySpec, trial: ScriptTrial, complain: Callable[[str], None]
) -> list[RowSource]:
    report, values = spec.report, trial.placeholders
    found: list[RowSource] = [JsonLines(trial.folder / REPORTS, complain)]
    if report.pattern is not None:
        groups = groups_of(report.pattern)
        names = {group_of(name): name for name in spec.metrics if group_of(name) in groups}
        found.append(PrintedLines(trial.folder / OUTPUT, report.pattern, names))
    if report.csv is not None:
        found.append(CsvRows(trial.folder, _filled(report.csv, values), complain))
    return found


def _filled(path: str, values: Mapping[str, Any]) -> str:
    with contextlib.suppress(KeyError):
        return fill_text(path, values)
    return path
