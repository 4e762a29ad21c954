"""Optuna's tables as they are written down here are Optuna's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite

from hpo.store.db import optuna_tables
from hpo.store.db.optuna_tables import IntermediateType, ValueType

THEIRS = models.BaseModel.metadata.tables


def _text(table: sa.Table, dialect: sa.Dialect) -> str:
    """Writes the statements that make a table and its indexes."""
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    parts: list[sa.schema.ExecutableDDLElement] = [
        sa.schema.CreateTable(table),
        *map(sa.schema.CreateIndex, indexes),
    ]
    return "\n".join(str(part.compile(dialect=dialect)) for part in parts)


@pytest.mark.parametrize("dialect", [sqlite, postgresql, mysql], ids=lambda m: m.__name__[-6:])
@pytest.mark.parametrize("name", sorted(THEIRS))
def test_each_table_would_be_created_alike(name: str, dialect: object) -> None:
    ours = optuna_tables.metadata.tables[name]
    kind = dialect.dialect()  # type: ignore[attr-defined]
    assert _text(ours, kind) == _text(THEIRS[name], kind)


def test_there_are_no_others() -> None:
    assert set(optuna_tables.metadata.tables) == set(THEIRS)
    assert {*THEIRS, "alembic_version"} == optuna_tables.TABLE_NAMES
    assert optuna_tables.MAX_NAME_LENGTH == models.MAX_INDEXED_STRING_LENGTH


def test_members_are_optunas() -> None:
    dialect = sqlite.dialect()
    for column, kind in (
        (optuna_tables.trials.c.state, TrialState),
        (optuna_tables.study_directions.c.direction, StudyDirection),
    ):
        assert isinstance(column.type, sa.TypeDecorator)
        read, write = column.type.process_result_value, column.type.process_bind_param
        assert [read(name, dialect) for name in kind.__members__] == list(kind)
        assert [write(member, dialect) for member in kind] == list(kind.__members__)
        assert write("FAIL", dialect) == "FAIL"
        assert read(None, dialect) is write(None, dialect) is None
    assert ValueType.__members__.keys() == models.TrialValueModel.TrialValueType.__members__.keys()
    theirs = models.TrialIntermediateValueModel.TrialIntermediateValueType
    assert IntermediateType.__members__.keys() == theirs.__members__.keys()


@pytest.mark.parametrize(
    "module", ["hpo.cli.commands.show", "hpo.cli.commands.trials", "hpo.store.db.hpo_tables"]
)
def test_what_only_looks_loads_neither_optuna_nor_numpy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'optuna', 'numpy', 'torch'}} & set(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"
