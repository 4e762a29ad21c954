"""What is no error of a database; `integration/test_faults.py` has those that are."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import driver_errors

POSTGRESQL = sa.make_url("postgresql+psycopg://u:s3cret@h/d")


def _wrapped(orig: Exception) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("SELECT 1", {}, orig)


def test_other_errors_are_no_outages() -> None:
    assert not driver_errors.is_outage(ValueError("database is locked"))
    assert not driver_errors.is_outage(StoreError("schema is old"))
    assert driver_errors.is_outage(ConnectionResetError())
    assert driver_errors.is_outage(sa.exc.TimeoutError("the pool is exhausted"))


def test_the_drivers_words_are_masked() -> None:
    error = psycopg.OperationalError("connection to postgresql://u:s3cret@h failed: s3cret\nmore")
    explained = driver_errors.explain(_wrapped(error), POSTGRESQL)
    assert "s3cret" not in str(explained)
    assert "\n" not in str(explained)
    assert str(explained).startswith("postgresql://u:***@h/d: the database cannot be reached")


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.store.db import database

    def fail(*args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'")

    monkeypatch.setattr(sa, "create_engine", fail)
    with pytest.raises(StoreError, match="the driver psycopg is not installed") as caught:
        database.Database("postgresql://u:s3cret@h/d")
    assert caught.value.hint == "pip install 'hpo[postgres]'"
    with pytest.raises(StoreError) as caught:
        database.Database("mariadb://u:s3cret@h/d")
    assert caught.value.hint == "pip install 'hpo[mysql]'"
