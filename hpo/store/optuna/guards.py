"""Guards: the exceptions that Optuna's storage contract names, for rows and for transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import StoreError
from hpo.store.rows import trial_rows
from hpo.store.rows.trial_reader import Head
from hpo.store.rows.trial_rows import TrialHead

if TYPE_CHECKING:
    from hpo.store.db.database import Database

_T = TypeVar("_T")


@contextmanager
def read(database: Database) -> Iterator[sa.Connection]:
    """Opens a transaction that only reads.

    Raises:
        StorageInternalError: The database failed; the cause is its error.
    """
    with _translated(), database.read() as connection:
        yield connection


def write(database: Database, work: Callable[[sa.Connection], _T], *, single: bool = False) -> _T:
    """Runs `work` in a writing transaction, again if that lost against another transaction.

    Args:
        database: Where.
        work: Must change nothing but the database.
        single: It sends one statement; see `Database.transaction`.

    Raises:
        StorageInternalError: The database failed, or refused a row; the cause is its error, such
            as an `IntegrityError`.
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


def no_study(study_id: int) -> KeyError:
    """Returns the error for an unknown study."""
    return KeyError(f"there is no study with study_id {study_id}")


def no_trial(trial_id: int) -> KeyError:
    """Returns the error for an unknown trial."""
    return KeyError(f"there is no trial with trial_id {trial_id}")


def finished_error(number: int) -> UpdateFinishedTrialError:
    """Returns the error of a write to a finished trial."""
    return UpdateFinishedTrialError(f"trial {number} is finished and cannot be changed")


def lock_study(connection: sa.Connection, study_id: int) -> None:
    """Locks a study until the transaction ends.

    Raises:
        KeyError: There is none.
    """
    if not trial_rows.lock_study(connection, study_id):
        raise no_study(study_id)


def lock_open(connection: sa.Connection, trial_ids: Sequence[int]) -> dict[int, TrialHead]:
    """Locks trials against being finished until the transaction ends.

    Raises:
        KeyError: One of them is not there.
        UpdateFinishedTrialError: One of them is finished.
    """
    heads = trial_rows.lock_trials(connection, trial_ids, exclusive=False)
    for trial_id in trial_ids:
        require_open(trial_id, heads.get(trial_id))
    return heads


def require_open(trial_id: int, head: TrialHead | Head | None) -> None:
    """Checks that a trial may be written to.

    Raises:
        KeyError: It is not there.
        UpdateFinishedTrialError: It is finished.
    """
    if head is None:
        raise no_trial(trial_id)
    if head.state.is_finished():
        raise finished_error(head.number)
