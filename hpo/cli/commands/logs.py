"""The command ``hpo logs``: what the workers of a study and its trials have printed."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Final

import click

from hpo.cli.messages import LONGEST_LINE, say
from hpo.cli.options import Command, complete_study, storage_option
from hpo.errors import HpoError, SpecError
from hpo.report.study_queries import Subject, find
from hpo.report.text.printable import cell
from hpo.report.trial_hosts import TrialHosts, find_hosts
from hpo.report.trials.worker_logs import LogLine, StudyLogs
from hpo.run.files.artifacts import Artifacts
from hpo.run.scripts.script_output import OUTPUT, shown_line
from hpo.run.scripts.tailed_file import TailedFile
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database

_POLL_S: Final = 0.5


@click.command(cls=Command)
@click.argument("name", metavar="[STUDY]", required=False, shell_complete=complete_study)
@click.argument("number", metavar="[TRIAL]", type=click.IntRange(min=0), required=False)
@storage_option
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only the last N lines; by default all.",
)
@click.option(
    "-f", "--follow", is_flag=True, help="Print what is added until the trial or study ends."
)
@click.option(
    "--artifacts", metavar="FOLDER", help="Folder of its files, if it is not the default one."
)
def logs(
    name: str | None,
    number: int | None,
    storage: str | None,
    lines: int | None,
    follow: bool,
    artifacts: str | None,
) -> None:
    """Print what a study's workers, or one of its trials, have printed on this machine.

    Without TRIAL: the logs of all workers, and the outputs of a command's trials, by time. With
    TRIAL: the output of its command; or the part of its workers' logs that was written while they
    trained it. Colours are left out, and of a progress bar the last state is shown.
    """
    db = open_database(storage)
    subject = find(db, name)
    files = _files_of(db, subject, artifacts)
    assert subject.spec is not None
    if number is not None and subject.spec.command is not None:
        _print_output(db, subject, files, number, lines, follow)
    else:
        _print_logs(db, subject, files, number, lines, follow)


# The logs of workers.


def _print_logs(
    db: Database,
    subject: Subject,
    files: Artifacts,
    number: int | None,
    n_lines: int | None,
    follow: bool,
) -> None:
    assert subject.spec is not None
    trial = None if number is None else find_hosts(db, subject, number)
    found = StudyLogs(
        files,
        number,
        runs_command=subject.spec.command is not None,
        holds_one=subject.spec.task is None,
    )
    follow = follow and not (subject.has_ended or (trial is not None and trial.has_ended))
    kept = list(deque(found.lines(final=not follow), maxlen=n_lines))
    is_missing = found.is_empty if trial is None else not found.was_found
    if is_missing and not (follow and (trial is None or not trial.is_elsewhere)):
        raise _missing(subject, trial, files.folder / "logs")
    for line in kept:
        _print_line(line, found)
    if follow:
        _follow_logs(db, subject, number, found)
    _tell_others(found)


def _follow_logs(db: Database, subject: Subject, number: int | None, found: StudyLogs) -> None:
    """Prints what is added to logs, until the trial has ended or the study trains no more."""
    has_ended = False
    while not has_ended:
        # In this order: after its end, nothing is added.
        has_ended = find(db, subject.name).has_ended
        if number is not None:
            has_ended |= find_hosts(db, subject, number).has_ended
        for line in found.lines(final=has_ended):
            _print_line(line, found)
        if not has_ended:
            time.sleep(_POLL_S)


def _print_line(line: LogLine, found: StudyLogs) -> None:
    source = f"{line.source} | ".encode() if found.has_several else b""
    _print(source + line.text.rpartition(b"\r")[2] if source else line.text)


def _tell_others(found: StudyLogs) -> None:
    n = len(found.others)
    if n:
        others = f"{n} other trial{'s' * (n > 1)}"
        say(
            f"{others} trained in the same process at the same time: a line that names no trial "
            "may be of any of them",
            err=True,
        )


# The output of a command.


def _print_output(
    db: Database, subject: Subject, files: Artifacts, number: int, n_lines: int | None, follow: bool
) -> None:
    trial = find_hosts(db, subject, number)
    path = files.trial_folder(number) / OUTPUT
    follow = follow and not (trial.has_ended or subject.has_ended)
    if not path.exists() and (trial.is_elsewhere or not follow):
        raise _missing(subject, trial, path)
    output = TailedFile(path)
    for line in deque(output.lines(final=not follow), maxlen=n_lines):
        _print(line)
    if follow:
        _follow(db, subject, number, output)


def _follow(db: Database, subject: Subject, number: int, output: TailedFile) -> None:
    """Prints what is added to an output, until its trial has ended or the study trains no more."""
    has_ended = False
    while not has_ended:
        # In this order: after its end, nothing is added.
        trial = find_hosts(db, subject, number)
        has_ended = trial.has_ended or find(db, subject.name).has_ended
        if not has_ended and trial.is_elsewhere and not output.path.exists():
            raise _missing(subject, trial, output.path)
        for line in output.lines(final=has_ended):
            _print(line)
        if not has_ended:
            time.sleep(_POLL_S)


def _print(line: bytes) -> None:
    # Not wrapped: a table that a script prints stays one.
    click.echo(cell(shown_line(line), LONGEST_LINE))  # noqa: TID251


def _files_of(db: Database, subject: Subject, artifacts: str | None) -> Artifacts:
    """Returns the files of a study.

    Raises:
        SpecError: hpo did not create it.
    """
    if subject.spec is None:
        raise SpecError(f"{subject.name} is a study of Optuna, whose workers have no logs")
    return Artifacts.of(subject, db.url, artifacts)


def _missing(subject: Subject, trial: TrialHosts | None, path: Path) -> HpoError:
    """Returns the error for a log or an output that is not on this machine."""
    if trial is None:
        return HpoError(
            f"{subject.name} has no logs on this machine: {path} is missing",
            hint="its files may be in another folder: see --artifacts",
        )
    what = f"trial {trial.number} of {subject.name}"
    if not trial.hosts:
        return HpoError(f"{what} has not begun, so it has no output yet")
    reason = f"`hpo show {subject.name} --trial {trial.number}` has its traceback"
    also = f"; {reason}" if trial.state == "FAIL" else ""
    if trial.is_elsewhere:
        hosts = " or ".join(trial.hosts)
        return HpoError(
            f"{what} has no output on this machine; it ran on {hosts}",
            hint="run `hpo logs` there, or share the folder of the files: "
            f"{path} has none of it here{also}",
        )
    return HpoError(
        f"{what} has no output: {path} has none of it",
        hint="it may not have begun, or its files are in another folder: see --artifacts" + also,
    )
