"""Session start: opens or creates the study of a spec, or attaches to a study by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna

from hpo.errors import HpoError, SpecError, did_you_mean
from hpo.run.files.artifacts import Artifacts
from hpo.run.host.placement import plan
from hpo.run.host.session import RunEnd, RunOptions, Session, stopped_end
from hpo.run.loggers import known_loggers
from hpo.search.base.auto import named_source
from hpo.search.optuna.experimental import quietly
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.optuna.storage import Storage
from hpo.store.studies import control, studies, study_records
from hpo.tasks.code.command_permission import require_command
from hpo.tasks.code.resolve import Allow


def start(
    spec: StudySpec, base_dir: Path | None, options: RunOptions, *, by_name: bool = False
) -> Session:
    """Opens or creates the study of a spec; one that was stopped is resumed.

    Args:
        spec: The study.
        base_dir: Folder that its relative paths refer to.
        options: How this machine takes part.
        by_name: The spec was read from the database.

    Raises:
        HpoError: The study stopped itself, for its trials failed.
        SpecError: Another study has this name, or there is none that it could learn from.
        StoreError: The database cannot be used.
        LaunchError: There is no such device, or too little of what a trial needs.
    """
    known_loggers.require(options.loggers)
    options = _with_resources(spec, options)
    places = plan(options.device, options.workers, options.resources)
    db = open_database(options.storage, create=True)
    _require_source(db, spec)
    if spec.objective is None:
        Artifacts.require_usable(db.url, options.artifacts)
    folder = str(base_dir.absolute()) if base_dir else None
    study, created = studies.create_or_join(db, spec, folder, by_name=by_name)
    if created and spec.metric:
        name_metrics(db, spec)
    if study.state == "stopped":
        if study.reason:
            raise _error(stopped_end(db, study))
        control.steer(db, study.study_id, "resume")
    return Session(
        db,
        study,
        options,
        places,
        created=created,
        base_dir=base_dir,
        is_named_here=bool(options.allow) or not by_name,
    )


def attach(name: str, options: RunOptions) -> Session:
    """Opens a study of the database, to work on it from here.

    Raises:
        HpoError: The study is stopped.
        StoreError: No such study, or the database cannot be used.
        TaskError: It runs a command that is not allowed here.
        SpecError: The study cannot use the resources that the options give.
        LaunchError: There is no such device, or too little of what a trial needs.
    """
    known_loggers.require(options.loggers)
    db = open_database(options.storage)
    study = study_records.load(db, name)
    if study.state == "stopped":
        raise _error(stopped_end(db, study))
    if study.spec.command is not None:
        require_command(study.spec.command, Allow(options.allow))
    if study.spec.objective is None:
        Artifacts.require_usable(db.url, options.artifacts)
    # What was allowed here is looked for here, not where the database says.
    base_dir = Path.cwd() if options.allow else None
    options = _with_resources(study.spec, options)
    places = plan(options.device, options.workers, options.resources)
    return Session(db, study, options, places, created=False, base_dir=base_dir)


def _with_resources(spec: StudySpec, options: RunOptions) -> RunOptions:
    """Returns options with the study's resources where they name none.

    Raises:
        SpecError: The study cannot use those of the options.
    """
    return replace(options, resources=spec.with_resources(options.resources).resources)


def _require_source(db: Database, spec: StudySpec) -> None:
    """Makes sure that the study to learn from is there.

    Raises:
        SpecError: ``learn_from`` names no study of the database.
    """
    name = named_source(spec)
    if name is None:
        return
    known = study_records.names(db)
    if spec.name not in known and name not in known:
        raise SpecError(
            f"sampler.learn_from: {db.masked_url} has no study {name!r}{did_you_mean(name, known)}",
            hint='"database" learns from every similar study, "shipped" and "none" from none',
        )


def _error(end: RunEnd) -> HpoError:
    return HpoError(end.message, hint=end.hint)


def name_metrics(db: Database, spec: StudySpec) -> None:
    """Lets Optuna's plots and dashboard call the objectives by their names."""
    with quietly():
        optuna.load_study(study_name=spec.name, storage=Storage(db)).set_metric_names(
            list(spec.metrics)
        )
