"""What a worker says of a row that it cannot read: the row, rather than where it stumbled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.errors import StoreError
from hpo.store.db.database import Database
from hpo.store.rows import unreadable_rows
from hpo.store.rows.unreadable_rows import UNREADABLE


@contextmanager
def naming_the_row(db: Database, study_id: int) -> Iterator[None]:
    """Turns an error for which a row of the study is to blame into one that names the row.

    Another worker in its place would stumble over the same row.

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
