"""The command ``hpo db``: the schema of a database, and copies of its studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich import progress as bars

from hpo.cli.messages import say
from hpo.cli.options import Command, Group, storage_option
from hpo.cli.output import console
from hpo.errors import SpecError, StoreError
from hpo.store.db import migrations
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import copying


@click.group(cls=Group)
def db() -> None:
    """Upgrade or check the schema of a database, or copy its studies to another.

    `hpo run` creates a new database without asking. Only `hpo db upgrade` changes the schema of an
    existing one.
    """


@db.command(cls=Command)
@storage_option
def upgrade(storage: str | None) -> None:
    """Upgrade the schema to the newest revision and create what is missing."""
    database = Database(storage)
    migrations.upgrade(database)
    say(f"{database.masked_url} is at revision {migrations.current(database)}")


@db.command(cls=Command)
@storage_option
def current(storage: str | None) -> None:
    """Show which revision the schema has."""
    database = Database.connect(storage)
    revision, head = migrations.current(database), migrations.head()
    if revision is None:
        say(f"{database.masked_url} has no tables of hpo")
    else:
        note = "the newest" if revision == head else f"the newest is {head}"
        say(f"{database.masked_url} is at revision {revision}, {note}")


@db.command(cls=Command)
@storage_option
def check(storage: str | None) -> None:
    """Compare the schema with what this version of hpo expects."""
    database = Database.connect(storage)
    found = migrations.check(database)
    if found:
        details = [f"  {line}" for line in found]
        raise StoreError(
            f"{database.masked_url} does not have the expected schema:", details=details
        )
    say(f"{database.masked_url} has the expected schema")


@db.command(name="copy", cls=Command)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option(
    "--study", "names", multiple=True, metavar="NAME", help="Copy only this study; repeatable."
)
@click.option("--rename", metavar="NEW", help="Name for the copy of a single study.")
@click.option(
    "--force", is_flag=True, help="Copy a study as it is now, even while workers work on it."
)
@click.option("--restart", is_flag=True, help="Delete what an interrupted copy has left.")
def copy_(
    source: str,
    target: str,
    names: Sequence[str],
    rename: str | None,
    force: bool,
    restart: bool,
) -> None:
    """Copy studies to another database, of any kind, and compare the copies.

    All studies are copied unless --study names some. The copies are made under working names and
    get their own when they are complete. After an interruption the same command resumes. Trials
    that were running can be resumed in the copy.
    """
    with _opened(copying.open_source(source)) as src:
        chosen = copying.choose(src, names)
        if rename and len(chosen) > 1:
            raise SpecError(f"--rename is for one study; choose one with --study: {chosen[0]}")
        if not force:
            copying.check_free(src, chosen)
        with _opened(open_database(target, create=True)) as dst:
            options = copying.Options(force=force, restart=restart)
            for name in chosen:
                with _interruptible(), _bar() as on_progress:
                    pair = (name, rename or name)
                    copied = copying.copy(src, dst, pair, options, on_progress)
                say(_line(copied, dst.masked_url))


@contextmanager
def _opened(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.dispose()


def _line(copied: copying.Copied, where: str) -> str:
    trials = f"{copied.n_trials:,} trial{'s' * (copied.n_trials != 1)}"
    renamed = f" as {copied.new_name}" if copied.new_name != copied.name else ""
    if copied.was_there:
        return f"{copied.name} is already in {where}{renamed}, identical: {trials}"
    return f"copied {copied.name} to {where}{renamed}: {trials}, compared and equal"


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted; run the same command again to resume", err=True)
        raise


@contextmanager
def _bar() -> Iterator[copying.OnProgress]:
    """A line on standard error that shows the progress, if that is a terminal."""
    screen = console(err=True)
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TextColumn("{task.completed:,.0f}/{task.total:,.0f} trials"),
        bars.TimeRemainingColumn(),
    )
    shown = screen.is_terminal and not screen.is_dumb_terminal
    with bars.Progress(*columns, console=screen, transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=0, start=False)

        def show(now: copying.Progress) -> None:
            bar.start_task(task)
            title = f"{now.phase} {now.name}"
            bar.update(task, description=title, completed=now.n_done, total=now.n_total)

        yield show
