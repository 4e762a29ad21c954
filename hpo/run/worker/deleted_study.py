"""A study that somebody deletes while its workers work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpo.run.link.context import Post
from hpo.store.studies import studies


@contextmanager
def telling_of_deletion(post: Post) -> Iterator[None]:
    """Turns whatever fails because the study is gone into one error that says so.

    Raises:
        StoreError: Somebody has deleted the study.
    """
    try:
        yield
    except Exception as error:
        if studies.is_deleted(post.db, post.study):
            raise studies.deleted(post.db, post.study.name) from error
        raise
