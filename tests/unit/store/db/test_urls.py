from __future__ import annotations

import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import urls
from hpo.store.db.database import DEFAULT_URL, Database, resolve_url


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_STORAGE", raising=False)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        (None, DEFAULT_URL),
        ("", DEFAULT_URL),
        ("x.db", "sqlite:///x.db"),
        ("folder/x.db", "sqlite:///folder/x.db"),
        ("/abs/x.db", "sqlite:////abs/x.db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u:p@h:1/d", "postgresql+psycopg://u:p@h:1/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("mysql://u@h/d", "mysql+pymysql://u@h/d"),
        ("mariadb://u@h/d", "mysql+pymysql://u@h/d"),
        ("  MySQL://u@h/d ", "mysql+pymysql://u@h/d"),
    ],
)
def test_urls_name_their_driver(given: str | None, resolved: str) -> None:
    assert resolve_url(given) == resolved


def test_the_environment_goes_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORAGE", "postgres://u@h/d")
    assert resolve_url(None) == "postgresql+psycopg://u@h/d"
    assert resolve_url("x.db") == "sqlite:///x.db"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("postgrsql://u:secret@h/d", "called 'postgrsql'; did you mean postgresql?"),
        ("oracle://u:secret@h/d", "(known: sqlite, postgresql, mysql, mariadb)"),
        ("postgresql+asyncpg://u:secret@h/d", "called 'postgresql+asyncpg'"),
        ("postgresql://u:secret@h:port/d", "is no database URL; one looks like"),
        ("postgresql:u:secret@h/d", "is no database URL; one looks like"),
        ("mysql://u:secret@h", "names no database: add its name at the end"),
        ("sqlite://x.db", "needs three slashes"),
        ("sqlite://", "cannot share a database in memory"),
        ("sqlite:///:memory:", "cannot share a database in memory"),
        ("sqlite:///file:x.db?uri=true", "give the file's path"),
        ("sqlite:///x.db?mode=ro", "an SQLite file takes no options (mode)"),
    ],
)
def test_wrong_urls_are_one_line_without_the_password(given: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        Database(given)
    assert message in str(caught.value)
    assert "secret@" not in str(caught.value).replace("postgresql:u:secret@", "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "password", ["secret", "s3cret/@:word", "p%40ss", "a b", "ü+x", "x" * 100, "@", "a@b@c"]
)
def test_passwords_are_masked_wherever_they_stand(password: str) -> None:
    url = sa.URL.create("postgresql", "u", password, "h", 1, "d")
    db = Database(url.render_as_string(hide_password=False))
    assert db.masked_url == "postgresql://u:***@h:1/d"
    assert repr(db) == "Database('postgresql://u:***@h:1/d')"
    assert password not in urls.mask(f"driver says {db.url}", password).replace("***@h", "")


def test_secrets_in_options_are_masked() -> None:
    masked = urls.mask("postgresql://h/d?sslpassword=secret&password=other&sslmode=require")
    assert masked == "postgresql://h/d?sslpassword=***&password=***&sslmode=require"
