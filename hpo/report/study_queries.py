"""Study queries: studies as reports see them, including those that Optuna created."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import SpecError, StoreError, nearest
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.optuna_tables import (
    name_of,
    studies,
    study_directions,
    study_system_attributes,
)
from hpo.store.rows import stored_specs

if TYPE_CHECKING:
    from hpo.spec.study_spec import StudySpec

FOREIGN = "optuna"
"""State of a study that Optuna created, not hpo."""


@dataclass(frozen=True)
class Subject:
    """A study as reports see it.

    Attributes:
        state: active, paused, stopped, done; or `FOREIGN`.
        directions: ``maximize`` or ``minimize`` for each objective.
        metrics: Name of each objective.
        spec: None for a study that hpo did not create, and in lists.
        n_trials: Number of trials that will have ended when the budget is spent: the budget plus
            cancelled and retried trials, which it does not count. None without such a budget.
        budget: The budget in trials, as the user gave it.
        fault: In a list, the reason why it cannot be read; such a study has no directions.
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
    fault: str = ""

    @property
    def direction(self) -> str:
        """The direction of the first objective."""
        return self.directions[0]

    @property
    def has_ended(self) -> bool:
        """Whether its trials are not trained in its current state."""
        return self.state in ("done", "stopped")

    @property
    def shows_test(self) -> bool:
        """Whether test metrics may be shown: not while a study runs, lest it be led by them."""
        return self.has_ended or self.state == FOREIGN

    @property
    def metric(self) -> str:
        """The names of the objectives, joined by commas."""
        return ", ".join(self.metrics)


def find(db: Database, name: str | None = None) -> Subject:
    """Finds a study; without a name, the only one of the database.

    Raises:
        StoreError: The database has no studies.
        SpecError: No study has this name; or no name was given, and there are several.
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
        raise SpecError(f"{where} holds {len(names)} studies; name one of them: {_listed(names)}")
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
    """Reads the study with a name, or every study of the database, oldest first.

    Args:
        with_specs: Read their specs too. A list does not need them; it continues if a study cannot
            be read and sets its fault.

    Raises:
        StoreError: A row cannot be read.
    """
    query = (
        sa.select(studies.c.study_name, studies.c.study_id.label("id"), *hpo_study.c)
        .select_from(studies.outerjoin(hpo_study, hpo_study.c.study_id == studies.c.study_id))
        .order_by(studies.c.study_id)
    )
    if name is not None:
        query = query.where(studies.c.study_name == name)
    rows = conn.execute(query).mappings().all()
    directions, named = _directions(conn), _metric_names(conn)
    found = []
    for row in rows:
        study_id = row["id"]
        try:
            subject = _subject(row, directions.get(study_id, ()), named.get(study_id))
            if with_specs and row["spec"] is not None:
                spec = stored_specs.read(row["spec"], row["study_name"])
                subject = replace(subject, spec=spec)
        except StoreError as error:
            if with_specs:
                raise
            state = row["state"] or FOREIGN
            subject = Subject(study_id, row["study_name"], state, (), (), fault=error.message)
        found.append(subject)
    return found


def _subject(row: Mapping[Any, Any], directions: tuple[str, ...], named: str | None) -> Subject:
    name = row["study_name"]
    if not directions:
        raise StoreError(f"table study_directions: the study {name!r} has no row that can be read")
    table = {} if row["spec"] is None else stored_specs.read_table(row["spec"], name)
    metrics = _metrics(table) or _names(named, name)
    if len(metrics) != len(directions):
        several = len(directions) > 1
        metrics = tuple(f"value_{i}" if several else "value" for i in range(len(directions)))
    budget = table.get("budget")
    return Subject(
        study_id=row["id"],
        name=name,
        state=row["state"] or FOREIGN,
        directions=directions,
        metrics=metrics,
        n_trials=row["n_trials"],
        budget=budget.get("trials") if isinstance(budget, dict) else None,
        reason=row["reason"],
        created_at=row["created_at"],
        deadline_at=row["deadline_at"],
    )


def _metrics(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the metrics that a spec names."""
    found = table.get("metric", ())
    return (found,) if isinstance(found, str) else tuple(map(str, found))


def _names(text: str | None, study: str) -> tuple[str, ...]:
    """Returns the names that `optuna.Study.set_metric_names` gave to the objectives."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        key = "study:metric_names"
        raise StoreError(
            f"table study_system_attributes, study {study!r}, {key}: it is not a JSON list of names"
        )
    return tuple(map(str, found))


def _directions(conn: Connection) -> dict[int, tuple[str, ...]]:
    table = study_directions.c
    query = sa.select(table.study_id, name_of(table.direction))
    query = query.order_by(table.study_id, table.objective)
    found: dict[int, tuple[str, ...]] = {}
    # Optuna knows NOT_SET too, and minimizes then.
    names = {"MAXIMIZE": "maximize", "MINIMIZE": "minimize", "NOT_SET": "minimize"}
    for study_id, direction in conn.execute(query):
        if direction in names:
            found[study_id] = (*found.get(study_id, ()), names[direction])
    return found


def _metric_names(conn: Connection) -> dict[int, str]:
    table = study_system_attributes.c
    query = sa.select(table.study_id, table.value_json).where(table.key == "study:metric_names")
    return {row.study_id: row.value_json for row in conn.execute(query)}
