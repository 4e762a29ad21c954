"""What a study was trained with: recorded once, read in order, kept by copies."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import copying, provenance, studies
from hpo.store.studies.provenance import DataVersion, Environment, Provenance
from tests.kits.cli_kit import SPEC

pytestmark = pytest.mark.integration

FIRST = Environment("3.11.0", "Linux", {"torch": "2.6"}, "abc", "", False, {"a.csv": "00"})
JOINED = Environment("3.11.0", "Linux", {"torch": "2.6"})
OTHER = Environment("3.12.0", "Linux", {"torch": "2.7"})


def read(db: Database, study_id: int) -> Provenance:
    with db.read() as conn:
        return provenance.read(conn, study_id)


@pytest.fixture
def study(tmp_path: Path) -> tuple[Database, int]:
    db = open_database(f"sqlite:///{tmp_path / 'hpo.db'}", create=True)
    return db, studies.create_or_join(db, SPEC, None)[0].study_id


def test_each_environment_and_each_data_set_is_recorded_once(
    study: tuple[Database, int], tmp_path: Path
) -> None:
    db, study_id = study
    assert read(db, study_id) == Provenance()
    for found in (FIRST, OTHER, FIRST, JOINED):
        provenance.note_environment(db, study_id, found)
    for checksum in ("aa", "bb", "aa"):
        provenance.note_data(db, study_id, DataVersion(checksum, 10))
    expected = Provenance((FIRST, OTHER), (DataVersion("aa", 10), DataVersion("bb", 10)))
    assert read(db, study_id) == expected
    copy = open_database(f"sqlite:///{tmp_path / 'copy.db'}", create=True)
    copying.copy(db, copy, ("digits", "digits"))
    assert read(copy, 1) == expected


@pytest.mark.parametrize(
    "text", ["[", "[1]", '{"odd": 1}', '{"python": "3", "packages": {"a": 1}}']
)
def test_a_row_that_cannot_be_read_is_named(study: tuple[Database, int], text: str) -> None:
    db, study_id = study
    provenance.note_environment(db, study_id, FIRST)
    column = optuna_tables.study_system_attributes.c
    with db.write() as conn:
        statement = sa.update(column.key.table).where(column.key.startswith("hpo:environment:"))
        conn.execute(statement.values(value_json=text))
    with pytest.raises(StoreError, match="table study_system_attributes, hpo:environment:"):
        read(db, study_id)
