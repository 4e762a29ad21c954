"""The command ``hpo delete``: deletes a study and its files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import sqlalchemy as sa

from hpo.cli.messages import LONGEST_LINE, say
from hpo.cli.options import Command, storage_option
from hpo.errors import HpoError, SpecError
from hpo.report.text.printable import cell
from hpo.run.files.artifacts import Artifacts, FilesOwner
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.opening import open_database
from hpo.store.rows import worker_list
from hpo.store.studies import renaming, studies, study_records


@click.command(cls=Command)
@click.argument("name", metavar="STUDY")
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
@click.option("--force", is_flag=True, help="Delete it even while workers work on it.")
@click.option("--keep-files", is_flag=True, help="Keep the study's checkpoints, models and logs.")
@click.option(
    "--artifacts", metavar="FOLDER", help="Folder of its files, if it is not the default one."
)
@storage_option
def delete(
    name: str, yes: bool, force: bool, keep_files: bool, artifacts: str | None, storage: str | None
) -> None:
    """Delete a study: its trials in the database, its files on this machine."""
    db = open_database(storage)
    study_id = _find(db, name)
    live = worker_list.live(db, study_id)
    if live and not force:
        raise HpoError(
            f"{len(live)} worker{'s are' if len(live) > 1 else ' is'} running on {name}",
            hint=f"`hpo stop {name}` ends them; --force deletes the study at once",
        )
    folders = [] if keep_files else Artifacts.of(_named(db, study_id, name), db.url, artifacts).own
    what = f"{name}: {_n_trials(db, study_id)} trials in {db.masked_url}"
    for folder in folders:
        what += f", {_n_files(folder)} files in {folder}"
    if not yes and not _is_wanted(f"delete {what}?"):
        raise HpoError("nothing was deleted")
    studies.delete(db, study_id)
    for folder in folders:
        _remove(folder)
    say(f"deleted {what}")


def _is_wanted(question: str) -> bool:
    unasked = SpecError(
        "deleting needs a confirmation and there is no terminal; nothing was deleted",
        hint="--yes deletes without asking",
    )
    if sys.stdin is None:
        raise unasked
    try:
        return click.confirm(cell(question, LONGEST_LINE), err=True)
    except click.Abort as error:
        # Ctrl-C is an answer; the end of input without a terminal is not.
        if not isinstance(error.__context__, EOFError) or sys.stdin.isatty():
            raise
        say(err=True)
        raise unasked from None


def _find(db: Database, name: str) -> int:
    """Returns the id of a study of hpo, even of one that cannot be read."""
    query = (
        sa.select(hpo_study.c.study_id)
        .join(optuna_tables.studies, optuna_tables.studies.c.study_id == hpo_study.c.study_id)
        .where(optuna_tables.studies.c.study_name == name)
    )
    with db.read() as conn:
        found = conn.scalar(query)
    # It raises the error about the name.
    return study_records.load(db, name).study_id if found is None else int(found)


def _named(db: Database, study_id: int, name: str) -> FilesOwner:
    query = sa.select(hpo_study.c.created_at).where(hpo_study.c.study_id == study_id)
    with db.read() as conn:
        return FilesOwner(renaming.files_of(conn, study_id, name), conn.scalar(query))


def _n_trials(db: Database, study_id: int) -> int:
    trials = optuna_tables.trials
    with db.read() as conn:
        query = sa.select(sa.func.count()).where(trials.c.study_id == study_id)
        return int(conn.scalar(query) or 0)


def _n_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise HpoError(f"the study is deleted, but some of its files are not: {error}") from error
