"""Copying: studies from one database to another, of any two kinds.

A copy grows under a name of its own, batch by batch in the order of the trials' numbers, each batch
in one transaction. It gets the study's name only when it is complete and was compared with the
source. A mark says whose copy it is, so an interrupted copy can be continued: finished trials stay,
unfinished ones, which may have changed since, are written again. The source is seen as it was at
one moment, whatever happens to it meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from hpo.errors import SpecError, StoreError, did_you_mean
from hpo.store.db import migrations, optuna_schema
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.opening import ensure
from hpo.store.rows import study_rows, worker_list
from hpo.store.rows.trial_reader import without_collector
from hpo.store.studies import copy_check, copy_rows
from hpo.store.studies.copy_rows import MARKER, Side
from hpo.store.studies.partial_copy import PartialCopy, study_row

logger = logging.getLogger(__name__)

_ONE_SNAPSHOT = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


@dataclass(frozen=True)
class Progress:
    """The progress of a copy.

    Attributes:
        name: The study.
        phase: copying or checking.
        n_done: Trials copied, or trials of both sides compared.
        n_total: Trials to copy or to compare.
    """

    name: str
    phase: str
    n_done: int
    n_total: int


@dataclass(frozen=True)
class Copied:
    """A study that is now in both databases.

    Attributes:
        name: In the source.
        new_name: In the copy.
        n_trials: Its trials.
        was_there: The other database had the same study already.
    """

    name: str
    new_name: str
    n_trials: int
    was_there: bool


@dataclass(frozen=True)
class Options:
    """Options of a copy.

    Attributes:
        force: Copy a study although it has live workers, as it is at that moment.
        restart: Delete what an interrupted copy has left, instead of continuing it.
    """

    force: bool = False
    restart: bool = False


OnProgress = Callable[[Progress], None]


def open_source(url: str) -> Database:
    """Opens a database to copy from: one of hpo's, or one that Optuna alone has made.

    Raises:
        StoreError: It is not there, or its schema is too old or too new.
    """
    source = Database.connect(url)
    try:
        if migrations.current(source) is None:
            optuna_schema.check_version(source.engine)
        else:
            ensure(source, create=False)
    except BaseException:
        source.dispose()
        raise
    return source


def choose(source: Database, names: Sequence[str]) -> list[str]:
    """Returns the names of the studies to copy: the given ones, or all.

    Raises:
        SpecError: The source has no study of such a name.
        StoreError: The source has no study.
    """
    with source.read() as conn:
        # An incomplete copy is not a study yet.
        known = [
            study.study_name
            for study in study_rows.all_studies(conn)
            if MARKER not in study.system_attrs
        ]
    for name in names:
        if name not in known:
            raise SpecError(f"{source.masked_url} has no study {name!r}{did_you_mean(name, known)}")
    if not known:
        raise StoreError(f"{source.masked_url} holds no study")
    return list(dict.fromkeys(names)) or known


def check_free(source: Database, names: Sequence[str]) -> None:
    """Checks that no worker trains the studies.

    Raises:
        StoreError: A study has live workers.
    """
    with source.read() as conn:
        found = {name: study_rows.id_of(conn, name) for name in names}
    if migrations.current(source) is None:
        return
    for name, study_id in found.items():
        n_live = len(worker_list.live(source, study_id))
        if n_live:
            raise StoreError(
                f"{name} has {n_live} live worker{'s' * (n_live > 1)}, which would train it there",
                hint=f"`hpo stop {name}` ends them; --force copies the study as it is now",
            )


def copy(
    source: Database,
    target: Database,
    names: tuple[str, str],
    options: Options = Options(),
    on_progress: OnProgress = lambda progress: None,
) -> Copied:
    """Copies one study, or continues an interrupted copy.

    Args:
        source: The database to read.
        target: The database to write, with both schemas.
        names: The study's name, and the name of its copy.
        options: Its options.
        on_progress: Called after each batch.

    Raises:
        StoreError: A study of that name is there, a database failed, or the copy turned out to
            differ from its source.
    """
    name, new_name = names
    if not options.force:
        check_free(source, [name])
    _require_fine_times(target)
    # Rows are created and dropped by the batch, and form no reference cycles.
    with without_collector():
        return _Copy(source, target, name, new_name, on_progress).run(options.restart)


class _Copy:
    """The copy of one study."""

    def __init__(
        self, source: Database, target: Database, name: str, new_name: str, report: OnProgress
    ) -> None:
        self._source = source
        self._target = target
        self._name = name
        self._new_name = new_name
        self._report = report

    def run(self, restart: bool) -> Copied:
        """Copies the study, or compares it with an existing copy."""
        existing = self._existing()
        with _snapshot(self._source) as conn:
            side = self._side(conn)
            row = study_row(side, self._name, self._new_name)
            n_trials = sum(len(batch) for batch in copy_rows.batches(side))
            partial = None
            if existing is None:
                partial = PartialCopy.take(self._target, self._new_name, side, restart=restart)
                self._write(side, partial, n_trials)
            wanted = copy_check.digests(side, self._counter("checking", 2 * n_trials))
        target_id = partial.study_id if partial else existing
        assert target_id is not None
        found, own = self._compare(wanted, target_id, 2 * n_trials)
        if partial is None:
            self._require_same(found if own == row else [*found, "hpo_study differs"])
        else:
            self._publish(partial, row, found)
        return Copied(self._name, self._new_name, n_trials, was_there=partial is None)

    def _existing(self) -> int | None:
        with self._target.read() as conn:
            return study_rows.id_of(conn, self._new_name)

    def _side(self, conn: sa.Connection) -> Side:
        study_id = study_rows.id_of(conn, self._name)
        if study_id is None:
            raise StoreError(f"{self._name} is no longer in {self._source.masked_url}")
        return Side(conn, study_id, sa.inspect(conn).has_table(hpo_study.name))

    def _write(self, side: Side, partial: PartialCopy, n_trials: int) -> None:
        count = self._counter("copying", n_trials)
        for batch in copy_rows.batches(side):
            missing = partial.missing(batch)
            if missing:
                partial.write_trials(side, missing)
            count(len(batch))
        partial.write_rest(side)

    def _compare(
        self, wanted: dict[str, copy_check.Digest], study_id: int, n_total: int
    ) -> tuple[list[str], dict[str, Any] | None]:
        """Returns how the copy differs from the source, and the copy's row of `hpo_study`."""
        with _snapshot(self._target) as conn:
            side = Side(conn, study_id, has_ours=True)
            count = self._counter("checking", n_total, n_total // 2)
            found = copy_check.differences(wanted, copy_check.digests(side, count))
            return found, study_row(side, self._new_name, self._new_name)

    def _require_same(self, differences: list[str]) -> None:
        if differences:
            raise StoreError(
                f"{self._target.masked_url} has another study called {self._new_name} "
                f"({differences[0]}{'; more differs' * (len(differences) > 1)})",
                hint="give the copy another name with --rename, or copy others with --study",
            )

    def _publish(self, partial: PartialCopy, row: Any, differences: list[str]) -> None:
        if differences:
            raise StoreError(
                f"the copy of {self._name} differs from its source: {'; '.join(differences)}",
                hint="the copy is not used; --restart makes it again",
            )
        partial.publish(row)
        logger.info("copied %s to %s", self._name, self._target.masked_url)

    def _counter(self, phase: str, n_total: int, n_done: int = 0) -> Callable[[int], None]:
        progress = Progress(self._name, phase, n_done, n_total)
        self._report(progress)

        def add(n: int) -> None:
            nonlocal progress
            progress = replace(progress, n_done=progress.n_done + n)
            self._report(progress)

        return add


def _require_fine_times(target: Database) -> None:
    with target.read() as conn:
        if not optuna_schema.keeps_microseconds(conn):
            raise StoreError(
                f"{target.masked_url} was made by Optuna and keeps times to the second only",
                hint=optuna_schema.FINER_TIMES,
            )


@contextmanager
def _snapshot(db: Database) -> Iterator[sa.Connection]:
    """Opens a reading transaction whose statements all see one snapshot."""
    with db.read() as conn:
        if db.dialect != "sqlite":
            conn.execute(_ONE_SNAPSHOT)
        yield conn
