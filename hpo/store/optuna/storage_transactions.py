"""Transactions for `Storage`: as `Database` gives them, with the exceptions that Optuna expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import StoreError

if TYPE_CHECKING:
    from hpo.store.db.database import Database

_T = TypeVar("_T")


@contextmanager
def reading(database: Database) -> Iterator[sa.Connection]:
    """Opens a transaction that only reads.

    Raises:
        StorageInternalError: The database failed; its cause tells why.
    """
    with _translated(), database.read() as connection:
        yield connection


def write(database: Database, work: Callable[[sa.Connection], _T], *, single: bool = False) -> _T:
    """Does `work` in a writing transaction, again from its start when it lost against another.

    Args:
        database: Where.
        work: Changes nothing but the database.
        single: One statement of it writes; see `Database.transaction`.

    Raises:
        StorageInternalError: The database failed, or refused what it was given; its cause tells
            why, an `IntegrityError` among them.
    """
    with _translated():
        return database.transaction(work, single=single)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StorageInternalError(str(error)) from error
    except SQLAlchemyError as error:
        raise StorageInternalError(f"the database refused a row: {error}") from error
