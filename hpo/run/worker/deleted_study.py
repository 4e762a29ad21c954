"""A study that somebody deletes while its workers work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.run.link.context import WorkerContext
from hpo.store.studies import studies


@contextmanager
def telling_of_deletion(context: WorkerContext) -> Iterator[None]:
    """Turns whatever fails because the study is gone into one error that says so.

    Raises:
        StoreError: Somebody has deleted the study.
    """
    try:
        yield
    except Exception as error:
        if studies.is_deleted(context.db, context.study):
            raise studies.deleted(context.db, context.study.name) from error
        raise
