"""The command ``hpo logs``: prints what the command of a trial has printed."""

from __future__ import annotations

import click

from hpo.cli.options import Command, storage_option
from hpo.errors import SpecError
from hpo.report.study_queries import find
from hpo.store.db.opening import open_database


@click.command(cls=Command)
@click.argument("name", metavar="STUDY")
@click.argument("trial", type=click.IntRange(min=0), metavar="TRIAL")
@click.option("-f", "--follow", is_flag=True, help="Print what is added until the trial ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=1), metavar="N", help="Print the last N lines only."
)
@click.option(
    "--artifacts",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Folder of the study's files, if it is not the default one.",
)
@storage_option
def logs(
    name: str,
    trial: int,
    follow: bool,
    lines: int | None,
    artifacts: str | None,
    storage: str | None,
) -> None:
    """Print the output of a trial whose study tunes a command.

    The output is in the trial's folder on the machine that trained it. Machines that share the
    folder of artifacts see it, too.
    """
    from hpo.report import trial_output
    from hpo.run.files.artifacts import Artifacts
    from hpo.run.scripts.script_output import OUTPUT
    from hpo.store.studies import study_records

    db = open_database(storage)
    subject = find(db, name)
    study = study_records.load(db, name)
    if study.spec.command is None:
        raise SpecError(
            f"{name} tunes no command: its trials have no output of their own",
            hint="workers write theirs into the folder logs of the study's artifacts",
        )
    study_id = subject.study_id
    if trial_output.state_of(db, study_id, trial) is None:
        raise SpecError(
            f"{name} has no trial {trial}; `hpo trials {name} --all` shows those it has"
        )
    folder = Artifacts.of(study, db.url, artifacts).trial_folder(trial)
    path = folder / OUTPUT
    if not path.is_file():
        raise SpecError(
            f"trial {trial} of {name} has no output in {folder}",
            hint="it has not begun, or ran on another machine: look there, or share --artifacts",
        )

    def has_ended() -> bool:
        state = trial_output.state_of(db, study_id, trial)
        return state is None or state.is_finished()

    for line in trial_output.lines_of(path, lines):
        _print(line)
    if follow:
        for line in trial_output.new_lines(path, has_ended):
            _print(line)


def _print(line: str) -> None:
    # Not wrapped: a table that a script prints stays one. Its text was made printable.
    click.echo(line)  # noqa: TID251
