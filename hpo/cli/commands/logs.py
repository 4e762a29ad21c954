"""The command ``hpo logs``: what the command of a trial has printed."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Final

import click

from hpo.cli.messages import LONGEST_LINE
from hpo.cli.options import Command, storage_option
from hpo.errors import HpoError, SpecError
from hpo.report.study_queries import Subject, find
from hpo.report.text.printable import cell
from hpo.report.trial_hosts import TrialHosts, find_hosts
from hpo.run.files.artifacts import Artifacts
from hpo.run.scripts.script_output import OUTPUT, shown_line
from hpo.run.scripts.tailed_file import TailedFile
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database

_POLL_S: Final = 0.5


@click.command(cls=Command)
@click.argument("name", metavar="STUDY")
@click.argument("number", metavar="TRIAL", type=click.IntRange(min=0))
@storage_option
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only the last N lines; by default all.",
)
@click.option("-f", "--follow", is_flag=True, help="Print what is added until the trial ends.")
@click.option(
    "--artifacts", metavar="FOLDER", help="Folder of its files, if it is not the default one."
)
def logs(
    name: str,
    number: int,
    storage: str | None,
    lines: int | None,
    follow: bool,
    artifacts: str | None,
) -> None:
    """Print the output of a trial whose study runs a command.

    Colours are left out, and of a progress bar the last state is shown.
    """
    db = open_database(storage)
    subject = find(db, name)
    files = _files_of_command(db, subject, artifacts)
    trial = find_hosts(db, subject, number)
    path = files.trial_folder(number) / OUTPUT
    follow = follow and not (trial.has_ended or subject.has_ended)
    if not path.exists() and (trial.is_elsewhere or not follow):
        raise _missing(subject, trial, path)
    output = TailedFile(path)
    for line in deque(output.lines(final=not follow), maxlen=lines):
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


def _files_of_command(db: Database, subject: Subject, artifacts: str | None) -> Artifacts:
    """Returns the files of a study.

    Raises:
        SpecError: It runs no command.
    """
    what = "only the trials of a command have outputs of their own"
    if subject.spec is None:
        raise SpecError(f"{subject.name} is a study of Optuna; {what}")
    files = Artifacts.of(subject, db.url, artifacts)
    if subject.spec.command is None:
        kind = "an objective" if subject.spec.kind == "objective" else "a task"
        logs = files.log(0).parent
        hint = f"the output of its workers is in {logs}" if logs.is_dir() else None
        raise SpecError(f"{subject.name} is a study of {kind}; {what}", hint=hint)
    return files


def _missing(subject: Subject, trial: TrialHosts, path: Path) -> HpoError:
    """Returns the error for an output that is not on this machine."""
    what = f"trial {trial.number} of {subject.name}"
    if not trial.hosts:
        return HpoError(f"{what} has not begun, so it has no output yet")
    if trial.is_elsewhere:
        hosts = " or ".join(trial.hosts)
        return HpoError(
            f"{what} has no output on this machine; it ran on {hosts}",
            hint=f"run `hpo logs` there, or share the folder of the files: {path} is missing here",
        )
    return HpoError(
        f"{what} has no output: {path} is missing",
        hint="it may not have begun, or its files are in another folder: see --artifacts",
    )
