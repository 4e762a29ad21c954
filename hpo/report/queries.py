"""What a study is, as reports see it. Every study of Optuna counts."""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import SpecError, StoreError, nearest
from hpo.store.database import Database
from hpo.store.optuna_tables import (
    name_of,
    studies,
    study_directions,
    study_system_attributes,
)
from hpo.store.tables import hpo_study

if TYPE_CHECKING:
    from hpo.spec.study import StudySpec

FOREIGN = "optuna"
"""State of a study that was made with Optuna and not with hpo."""


@dataclass(frozen=True)
class Subject:
    """A study as reports see it.

    Attributes:
        state: active, paused, stopped, done; or `FOREIGN`.
        directions: ``maximize`` or ``minimize`` for each objective.
        metrics: Name of each objective.
        spec: None for a study that hpo did not make, and in lists.
        n_trials: How many trials will have ended when the budget is spent: the cancelled and the
            retried, which the budget does not count, are added to it. None without such a budget.
        budget: The budget in trials, as somebody gave it.
    """

    study_id: int
    name: str
    state: str
    directions: tuple[str, ...]
    metrics: tuple[str, ...]
    spec: StudySpec | None = None
    n_trials: int | None = None
    budget: int | None = None
    reason: str | None = None
    created_at: datetime.datetime | None = None
    deadline_at: datetime.datetime | None = None

    @property
    def direction(self) -> str:
        """The direction of the first objective."""
        return self.directions[0]

    @property
    def metric(self) -> str:
        """The names of the objectives, as a list reads."""
        return ", ".join(self.metrics)


def find(db: Database, name: str | None = None) -> Subject:
    """Finds a study; without a name, the only one that the database holds.

    Raises:
        StoreError: There is none at all.
        SpecError: There is none of this name; or no name was given, and there are several.
    """
    with db.read() as conn:
        names = list(conn.scalars(sa.select(studies.c.study_name).order_by(studies.c.study_id)))
        chosen = _choose(name, names, db.masked_url)
        return read_subjects(conn, chosen)[0]


def _choose(name: str | None, names: list[str], where: str) -> str:
    if not names:
        raise StoreError(f"{where} holds no study", hint="start one with `hpo run STUDY.toml`")
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise SpecError(f"{where} holds {len(names)} studies; say which: {_listed(names)}")
    if name not in names:
        match = nearest(name, names)
        advice = f"Did you mean {match}?" if match else f"There is {_listed(names)}."
        raise SpecError(f"{where} holds no study {name!r}. {advice}")
    return name


def _listed(names: list[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def read_subjects(
    conn: Connection, name: str | None = None, *, with_specs: bool = True
) -> list[Subject]:
    """Reads the study of a name, or every study of the database, oldest first.

    Args:
        with_specs: Read their specs too; a list needs none.
    """
    query = (
        sa.select(studies.c.study_name, studies.c.study_id.label("id"), *hpo_study.c)
        .select_from(studies.outerjoin(hpo_study, hpo_study.c.study_id == studies.c.study_id))
        .order_by(studies.c.study_id)
    )
    if name is not None:
        query = query.where(studies.c.study_name == name)
    rows = conn.execute(query).mappings().all()
    directions = _directions(conn)
    named = _metric_names(conn)
    specs = _read_specs(rows) if with_specs else {}
    return [
        _subject(row, directions[row["id"]], named.get(row["id"]), specs.get(row["id"]))
        for row in rows
    ]


def _read_specs(rows: Sequence[Mapping[Any, Any]]) -> dict[int, StudySpec]:
    # Not for a list of studies: what reads and checks a spec takes longest to load.
    from hpo.spec import toml

    return {
        row["id"]: toml.loads(row["spec"], row["study_name"])
        for row in rows
        if row["spec"] is not None
    }


def _subject(
    row: Mapping[Any, Any],
    directions: tuple[str, ...],
    named: Iterable[str] | None,
    spec: StudySpec | None,
) -> Subject:
    table = tomllib.loads(row["spec"] or "")
    metrics = _metrics(table) or tuple(named or ())
    if len(metrics) != len(directions):
        several = len(directions) > 1
        metrics = tuple(f"value_{i}" if several else "value" for i in range(len(directions)))
    return Subject(
        study_id=row["id"],
        name=row["study_name"],
        state=row["state"] or FOREIGN,
        directions=directions,
        metrics=metrics,
        spec=spec,
        n_trials=row["n_trials"],
        budget=table.get("budget", {}).get("trials"),
        reason=row["reason"],
        created_at=row["created_at"],
        deadline_at=row["deadline_at"],
    )


def _metrics(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the metrics that a spec names."""
    found = table.get("metric", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _directions(conn: Connection) -> dict[int, tuple[str, ...]]:
    table = study_directions.c
    query = sa.select(table.study_id, name_of(table.direction))
    query = query.order_by(table.study_id, table.objective)
    found: dict[int, tuple[str, ...]] = {}
    for study_id, direction in conn.execute(query):
        # Optuna knows NOT_SET too, and minimizes then.
        name = "maximize" if direction == "MAXIMIZE" else "minimize"
        found[study_id] = (*found.get(study_id, ()), name)
    return found


def _metric_names(conn: Connection) -> dict[int, list[str]]:
    """Reads the names that `optuna.Study.set_metric_names` gave to the objectives."""
    table = study_system_attributes.c
    query = sa.select(table.study_id, table.value_json).where(table.key == "study:metric_names")
    return {study_id: json.loads(text) for study_id, text in conn.execute(query)}
