"""Confirming: starts the study that trains the best trials of another one with new seeds."""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpo.errors import SpecError
from hpo.run.host.session import RunOptions, Session
from hpo.run.host.session_start import name_metrics, start
from hpo.search.base.derived_seeds import mix
from hpo.spec.space.search_space import Fixed
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import confirmations, studies, study_records
from hpo.store.studies.study_records import StudyRecord

SUFFIX: Final = "-confirm"
_STREAM: Final = zlib.crc32(b"confirm")
_KEPT: Final = ("epochs", "trial_hours")
"""Entries of a budget that concern one trial; the others would end a confirmation too early."""


@dataclass(frozen=True)
class Plan:
    """The runs that are wanted.

    Attributes:
        study: The study that is confirmed.
        params: Of the trials to confirm, by their numbers, the best first.
        n_seeds: How many seeds each is trained with.
    """

    study: StudyRecord
    params: Mapping[int, Mapping[str, Any]]
    n_seeds: int


def seeds(spec: StudySpec, n: int) -> list[int]:
    """Returns the seeds of a study's confirmation: new ones, and always the same."""
    return [mix(_seed(spec), i) for i in range(n)]


def start_confirming(plan: Plan, base_dir: Path | None, options: RunOptions) -> Session:
    """Creates or continues the confirmation of a study, with the runs that it lacks.

    Args:
        plan: The runs.
        base_dir: Folder that the study's relative paths refer to.
        options: How this machine takes part, and the database of the study.

    Raises:
        HpoError: The confirmation stopped itself, for its runs failed.
        SpecError: It cannot be continued, or another study has its name.
        StoreError: The database cannot be used.
        LaunchError: There is no such device, or too little of what a trial needs.
    """
    db = open_database(options.storage)
    folder = str(base_dir.absolute()) if base_dir else plan.study.base_dir
    record = _existing(db, plan.study) or _create(db, plan, folder)
    fixed = {n for n, p in plan.study.spec.space.parameters.items() if isinstance(p, Fixed)}
    params = {
        number: {name: value for name, value in point.items() if name not in fixed}
        for number, point in plan.params.items()
    }
    confirmations.add_runs(db, record.study_id, params, seeds(plan.study.spec, plan.n_seeds))
    spec = study_records.reload(db, record).spec
    return start(spec, Path(folder) if folder else None, options, by_name=True)


def _existing(db: Database, study: StudyRecord) -> StudyRecord | None:
    """Returns the confirmation that a study has.

    Raises:
        SpecError: Its runs have another number of epochs than the study's trials have now.
    """
    with db.read() as conn:
        study_id = confirmations.find(conn, study.created_at)
        if study_id is None:
            return None
        record = study_records.read_by_id(conn, study_id, db)
    if record.budget.epochs != study.budget.epochs:
        raise SpecError(
            f"{record.name} trains {record.budget.epochs} epochs, and {study.name} has "
            f"{study.budget.epochs} since its budget was updated",
            hint=f"`hpo delete {shlex.quote(record.name)}`, and confirm again",
        )
    return record


def _create(db: Database, plan: Plan, base_dir: str | None) -> StudyRecord:
    """Creates the confirmation of a study.

    Raises:
        SpecError: The study is a confirmation itself, or another study has the name.
    """
    study = plan.study
    with db.read() as conn:
        if confirmations.is_confirmation(conn, study.study_id):
            raise SpecError(f"{study.name} is itself the confirmation of another study")
    spec = _spec(plan)
    if spec.name in study_records.names(db):
        raise SpecError(
            f"there is a study called {spec.name} already, and it does not confirm {study.name}",
            hint=f"rename it with `hpo rename {shlex.quote(spec.name)} NAME`, or delete it",
        )
    attrs = confirmations.link_to(study)
    record, is_created = studies.create_or_join(db, spec, base_dir, attrs=attrs)
    if is_created and spec.metric:
        name_metrics(db, spec)
    return record


def _spec(plan: Plan) -> StudySpec:
    """Returns the study's spec, with other seeds, and with nothing that searches or stops."""
    spec, table = plan.study.spec, plan.study.spec.to_given()
    budget = {name: v for name, v in plan.study.budget.to_given().items() if name in _KEPT}
    return StudySpec(
        **table
        | {
            "name": f"{spec.name}{SUFFIX}",
            "seed": _seed(spec),
            "sampler": "random",
            "pruner": "none",
            "budget": {**budget, "trials": len(plan.params) * plan.n_seeds},
        }
    )


def _seed(spec: StudySpec) -> int:
    return mix(spec.seed, _STREAM)
