"""Database URLs: read from what a user types, and shown with passwords masked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

import sqlalchemy as sa

from hpo.errors import StoreError, did_you_mean

DEFAULT_URL = "sqlite:///hpo.db"
ENVIRONMENT_VARIABLE = "HPO_STORAGE"
MASK = "***"
EXAMPLES = "sqlite:///hpo.db, postgresql://user@host/db or mysql://user@host/db"

_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}
_CREDENTIALS = re.compile(r"(://[^:/@\s]*):([^\s]*)@")
_SECRET_OPTIONS = re.compile(r"((?:sslpassword|password|passwd|pwd)=)[^&\s]+", re.IGNORECASE)


def resolve_url(url: str | None) -> str:
    """Returns the URL to connect to: the given one, else ``$HPO_STORAGE``, else the default.

    A path without a scheme means an SQLite file. The file's path stays as it was given.

    Raises:
        StoreError: Not a URL, or one of a database that hpo does not know.
    """
    text = (url or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_URL).strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _of_path(text)
    if scheme.lower() not in _DRIVERS:
        known = ["sqlite", "postgresql", "mysql", "mariadb"]
        raise StoreError(
            f"{mask(text)}: hpo has no database called {scheme!r}"
            f"{did_you_mean(scheme.partition('+')[0], known)} (known: {', '.join(known)})"
        )
    resolved = f"{_DRIVERS[scheme.lower()]}://{rest}"
    parse(resolved)
    return resolved


def parse(url: str) -> sa.URL:
    """Parses a resolved URL.

    Raises:
        StoreError: It is malformed, names no database, or is an in-memory database.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError(f"{mask(url)} is no database URL; one looks like {EXAMPLES}") from None
    if parsed.get_backend_name() != "sqlite":
        if not parsed.database:
            raise StoreError(f"{mask(url)} names no database: add its name at the end, as in /hpo")
        return parsed
    if parsed.host:
        raise StoreError(f"{url}: an SQLite file needs three slashes, as in sqlite:///hpo.db")
    if parsed.database in (None, "", ":memory:"):
        raise StoreError("workers cannot share a database in memory: use a file, sqlite:///hpo.db")
    if str(parsed.database).startswith("file:"):
        raise StoreError(f"{url}: give the file's path, as in sqlite:///hpo.db")
    if parsed.query:
        options = ", ".join(parsed.query)
        raise StoreError(
            f"{url}: an SQLite file takes no options ({options})",
            hint="a file with ? in its name is given by its path, without sqlite:///",
        )
    return parsed


def absolute(url: sa.URL) -> sa.URL:
    """Returns the URL with an SQLite file's path made absolute: user code may change folder."""
    if url.get_backend_name() != "sqlite":
        return url
    return url.set(database=str(Path(str(url.database)).absolute()))


def shown(url: sa.URL) -> str:
    """Returns the URL for messages: without driver, password masked."""
    plain = url.set(drivername=url.get_backend_name())
    return mask(plain.render_as_string(hide_password=True))


def mask(text: str, password: str | None = None) -> str:
    """Returns ``text`` with every password of a URL, and ``password`` itself, masked."""
    masked = _CREDENTIALS.sub(rf"\1:{MASK}@", text)
    masked = _SECRET_OPTIONS.sub(rf"\1{MASK}", masked)
    if password:
        for form in {password, quote(password, safe=""), quote_plus(password)}:
            masked = masked.replace(form, MASK)
    return masked


def _of_path(text: str) -> str:
    if text.partition(":")[0].lower() in _DRIVERS:
        raise StoreError(f"{mask(text)} is no database URL; one looks like {EXAMPLES}")
    path = str(Path(text).expanduser())
    try:
        path.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{path!r}: the file's name is not UTF-8") from None
    # As a URL: ? and % mean themselves in a path.
    return sa.URL.create("sqlite", database=path).render_as_string(hide_password=False)
