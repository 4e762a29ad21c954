"""Provenance of a study: the environments in which it ran, and the data that its trials had.

Each different one is an attribute of the study that Optuna keeps, so that copies have it, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.rows import study_rows

_TABLE = optuna_tables.study_system_attributes
_ENVIRONMENT: Final = "hpo:environment:"
_DATA: Final = "hpo:data:"
_DIGITS: Final = 16


@dataclass(frozen=True)
class Environment:
    """What a study ran with on a machine.

    Attributes:
        python: Version of Python.
        platform: Operating system and processor.
        packages: Version of each installed package, by name.
        commit: Git commit of the study's folder; empty if that is not in a repository.
        folder: Path of the study's folder in the repository.
        is_modified: Whether the repository had changes that were not committed; None if unknown.
        files: SHA-256 of each file that the study names, such as its script and its table; empty
            for a file that is too large to be read once more.
    """

    python: str
    platform: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    folder: str = ""
    is_modified: bool | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataVersion:
    """Data that trials were trained and validated on.

    Attributes:
        checksum: The first digits of the SHA-256 of the features and targets, as hpo loads them.
        n_samples: Number of samples.
    """

    checksum: str
    n_samples: int


@dataclass(frozen=True)
class Provenance:
    """What a study's trials came from, as far as it was recorded; in order of the first use."""

    environments: tuple[Environment, ...] = ()
    data: tuple[DataVersion, ...] = ()


def note_environment(db: Database, study_id: int, environment: Environment) -> None:
    """Records an environment, unless the study has it already.

    One without files and commit, of a machine that joined by the study's name, says nothing new
    where another one has its packages.
    """
    with db.read() as conn:
        known = read(conn, study_id).environments
    bare = (replace(one, commit="", folder="", is_modified=None, files={}) for one in known)
    if environment in known or environment in bare:
        return
    table = asdict(environment)
    digest = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    _note(db, study_id, _ENVIRONMENT + digest[:_DIGITS], table)


def note_data(db: Database, study_id: int, data: DataVersion) -> None:
    """Records data, unless the study has them already."""
    _note(db, study_id, _DATA + data.checksum, asdict(data))


def read(conn: sa.Connection, study_id: int) -> Provenance:
    """Returns what was recorded of a study.

    Raises:
        StoreError: A row cannot be read.
    """
    column = _TABLE.c
    query = (
        sa.select(column.key, column.value_json)
        .where(column.study_id == study_id)
        .where(column.key.startswith(_ENVIRONMENT) | column.key.startswith(_DATA))
        .order_by(column.study_system_attribute_id)
    )
    environments, data = [], []
    for key, text in conn.execute(query):
        try:
            if key.startswith(_DATA):
                data.append(DataVersion(**json.loads(text)))
            else:
                environments.append(_checked(Environment(**json.loads(text))))
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"table study_system_attributes, {key}: it cannot be read: {error}"
            ) from error
    return Provenance(tuple(environments), tuple(data))


def _note(db: Database, study_id: int, key: str, value: Mapping[str, Any]) -> None:
    known = sa.select(_TABLE.c.key).where(_TABLE.c.study_id == study_id, _TABLE.c.key == key)
    with db.read() as conn:
        if conn.scalar(known) is not None:
            return
    db.transaction(lambda conn: study_rows.put_attr(conn, _TABLE, study_id, key, value))


def _checked(found: Environment) -> Environment:
    for table in (found.packages, found.files):
        if not all(isinstance(text, str) for text in table.values()):
            raise ValueError("versions and checksums must be text")
    return found
