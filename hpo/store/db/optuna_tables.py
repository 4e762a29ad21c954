"""Optuna's tables, and how Optuna stores numbers and times, without loading Optuna.

They are declared here for reading and writing rows, which halves the start of `hpo ls`. Optuna's
own models create them (`optuna_schema`); a test compares the two.
"""

from __future__ import annotations

import datetime
import enum
import importlib
import math
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

MAX_NAME_LENGTH = 512
"""Longest study name, parameter name and attribute key, in characters."""
_MAX_VERSION_LENGTH = 256
"""Length of the column with Optuna's version."""


class _Member(sa.types.TypeDecorator[Any]):
    """A column type for members of an enum of Optuna's, which is loaded when a row is read.

    Args:
        module: Where Optuna has the enum.
        name: What it is called there.
        names: Of its members.
    """

    impl = sa.Enum
    cache_ok = True

    def __init__(self, module: str, name: str, names: tuple[str, ...]) -> None:
        self.module, self.name, self.names = module, name, names
        super().__init__(*names, name=name.lower())

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Returns the name of a member, or of a name."""
        return value if value is None or isinstance(value, str) else str(value.name)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """Returns the member of a name."""
        return None if value is None else _enum(self.module, self.name)[value]


@lru_cache(maxsize=8)
def _enum(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def name_of(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Returns a column of Optuna's states or directions as text, which needs no Optuna."""
    return sa.type_coerce(column, sa.String)


class ValueType(enum.Enum):
    """The kind of number that a trial's value is, as columns of numbers hold no infinities."""

    FINITE = 1
    INF_POS = 2
    INF_NEG = 3


class IntermediateType(enum.Enum):
    """The kind of number that an intermediate value is, which may also be NaN."""

    FINITE = 1
    INF_POS = 2
    INF_NEG = 3
    NAN = 4


metadata = sa.MetaData()


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=True)


def _of_study(**options: Any) -> sa.Column[int]:
    return sa.Column("study_id", sa.Integer, sa.ForeignKey("studies.study_id"), **options)


def _of_trial(**options: Any) -> sa.Column[int]:
    return sa.Column("trial_id", sa.Integer, sa.ForeignKey("trials.trial_id"), **options)


def _attributes(name: str, key: str, owner: sa.Column[int]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        _key(key),
        owner,
        sa.Column("key", sa.String(MAX_NAME_LENGTH)),
        sa.Column("value_json", sa.Text),
        sa.UniqueConstraint(owner.name, "key"),
    )


def _number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(precision=53))


def _kind(name: str, kind: type[enum.Enum], stored_as: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Enum(kind, name=stored_as), nullable=False)


studies = sa.Table(
    "studies",
    metadata,
    _key("study_id"),
    sa.Column("study_name", sa.String(MAX_NAME_LENGTH), index=True, unique=True, nullable=False),
)
study_directions = sa.Table(
    "study_directions",
    metadata,
    _key("study_direction_id"),
    sa.Column(
        "direction",
        _Member("optuna.study", "StudyDirection", ("NOT_SET", "MINIMIZE", "MAXIMIZE")),
        nullable=False,
    ),
    _of_study(nullable=False),
    sa.Column("objective", sa.Integer, nullable=False),
    sa.UniqueConstraint("study_id", "objective"),
)
study_user_attributes = _attributes("study_user_attributes", "study_user_attribute_id", _of_study())
study_system_attributes = _attributes(
    "study_system_attributes", "study_system_attribute_id", _of_study()
)
trials = sa.Table(
    "trials",
    metadata,
    _key("trial_id"),
    sa.Column("number", sa.Integer),
    _of_study(index=True),
    sa.Column(
        "state",
        _Member("optuna.trial", "TrialState", ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")),
        nullable=False,
    ),
    sa.Column("datetime_start", sa.DateTime),
    sa.Column("datetime_complete", sa.DateTime),
)
trial_user_attributes = _attributes("trial_user_attributes", "trial_user_attribute_id", _of_trial())
trial_system_attributes = _attributes(
    "trial_system_attributes", "trial_system_attribute_id", _of_trial()
)
trial_params = sa.Table(
    "trial_params",
    metadata,
    _key("param_id"),
    _of_trial(),
    sa.Column("param_name", sa.String(MAX_NAME_LENGTH)),
    _number("param_value"),
    sa.Column("distribution_json", sa.Text),
    sa.UniqueConstraint("trial_id", "param_name"),
)
trial_values = sa.Table(
    "trial_values",
    metadata,
    _key("trial_value_id"),
    _of_trial(nullable=False),
    sa.Column("objective", sa.Integer, nullable=False),
    _number("value"),
    _kind("value_type", ValueType, "trialvaluetype"),
    sa.UniqueConstraint("trial_id", "objective"),
)
trial_intermediate_values = sa.Table(
    "trial_intermediate_values",
    metadata,
    _key("trial_intermediate_value_id"),
    _of_trial(nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    _number("intermediate_value"),
    _kind("intermediate_value_type", IntermediateType, "trialintermediatevaluetype"),
    sa.UniqueConstraint("trial_id", "step"),
)
trial_heartbeats = sa.Table(
    "trial_heartbeats",
    metadata,
    _key("trial_heartbeat_id"),
    _of_trial(nullable=False),
    sa.Column("heartbeat", sa.DateTime, nullable=False, default=sa.func.current_timestamp()),
    sa.UniqueConstraint("trial_id"),
)
version_info = sa.Table(
    "version_info",
    metadata,
    sa.Column("version_info_id", sa.Integer, primary_key=True, autoincrement=False, default=1),
    sa.Column("schema_version", sa.Integer),
    sa.Column("library_version", sa.String(_MAX_VERSION_LENGTH)),
    sa.CheckConstraint("version_info_id=1"),
)

TABLE_NAMES = frozenset(metadata.tables) | {"alembic_version"}
"""Every table that belongs to Optuna: hpo's migrations do not change them."""

_VALUE_INFINITY = {math.inf: ValueType.INF_POS, -math.inf: ValueType.INF_NEG}
_INTERMEDIATE_INFINITY = {math.inf: IntermediateType.INF_POS, -math.inf: IntermediateType.INF_NEG}
_NUMBERS = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


def value_to_row(value: float) -> tuple[float | None, ValueType]:
    """Returns (`value`, `value_type`) of `trial_values` for an objective's value.

    Raises:
        ValueError: `value` is NaN, which Optuna's schema cannot hold as a final value.
    """
    if math.isnan(value):
        raise ValueError("the value of a trial cannot be NaN")
    if math.isinf(value):
        return None, _VALUE_INFINITY[value]
    return float(value), ValueType.FINITE


def row_to_value(value: float | None, value_type: ValueType) -> float:
    """Inverts `value_to_row`."""
    return _NUMBERS[value_type.name] if value is None else float(value)


def intermediate_to_row(value: float) -> tuple[float | None, IntermediateType]:
    """Returns (`intermediate_value`, `intermediate_value_type`); NaN and infinities are stored."""
    if math.isnan(value):
        return None, IntermediateType.NAN
    if math.isinf(value):
        return None, _INTERMEDIATE_INFINITY[value]
    return float(value), IntermediateType.FINITE


def row_to_intermediate(value: float | None, value_type: IntermediateType) -> float:
    """Inverts `intermediate_to_row`."""
    return _NUMBERS[value_type.name] if value is None else float(value)


def utc_now() -> datetime.datetime:
    """Returns this process's clock as Optuna's tables hold times: naive UTC."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def local_to_utc(moment: datetime.datetime | None) -> datetime.datetime | None:
    """Converts a time of a `FrozenTrial` (naive means local) to the stored naive UTC."""
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)


def utc_to_local(moment: datetime.datetime | None) -> datetime.datetime | None:
    """Converts a stored naive UTC time to the naive local time of a `FrozenTrial`."""
    if moment is None:
        return None
    return moment.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
