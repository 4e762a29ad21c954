"""Study errors: a study that was deleted while its workers run, or a row that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.errors import StoreError
from hpo.run.link.context import WorkerContext
from hpo.store.db.database import Database
from hpo.store.rows import unreadable_rows
from hpo.store.rows.unreadable_rows import UNREADABLE
from hpo.store.studies import study_records


@contextmanager
def deletion_named(context: WorkerContext) -> Iterator[None]:
    """Turns any error that follows from the deletion of the study into one that says so.

    Raises:
        StoreError: The study was deleted.
    """
    try:
        yield
    except Exception as error:
        if study_records.is_deleted(context.db, context.study):
            raise study_records.deleted(context.db, context.study.name) from error
        raise


@contextmanager
def unreadable_row_named(db: Database, study_id: int) -> Iterator[None]:
    """Turns an error that follows from an unreadable row of the study into one that names the row.

    Another worker in its place would fail at the same row.

    Raises:
        StoreError: There is such a row.
    """
    try:
        yield
    except UNREADABLE as error:
        found = unreadable_rows.first(db, study_id)
        if not found:
            raise
        raise StoreError(f"{db.masked_url}: {found}") from error
