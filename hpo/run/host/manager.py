"""Study manager: runs the study that a user names by a file, a study's name or an objective."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, Problem, SpecError, StoreError, TaskError, did_you_mean, nearest
from hpo.run.host import command_preflight, shell_studies
from hpo.run.host.notebook import live_display
from hpo.run.host.objective_scripts import advice, pausing, with_script
from hpo.run.host.session import RunOptions
from hpo.run.host.session_start import start
from hpo.run.host.study_handle import Study
from hpo.spec import logger_choices, ready_made, study_files, toml
from hpo.spec.logger_choices import LoggerChoice
from hpo.spec.study_spec import Budget, StudySpec
from hpo.spec.subject_checks import SUBJECTS
from hpo.store.db.opening import open_database
from hpo.store.rows import events
from hpo.store.studies import study_records
from hpo.tasks.code.command_permission import require_command
from hpo.tasks.code.resolve import Allow

BUDGETS = tuple(Budget.model_fields)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A study that is known to be right and able to run here.

    Attributes:
        spec: The study, with the task's own choices where it makes none.
        base_dir: Folder that its relative paths refer to.
        allow: References that may run because the person at this machine named them.
        by_name: The study was named, and is in the database.
        notices: What a person should know of the task's data.
        remarks: What the study takes over from its objective's script, and what it does not.
        loggers: Those that its file names.
    """

    spec: StudySpec
    base_dir: Path
    allow: tuple[str, ...] = ()
    by_name: bool = False
    notices: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    loggers: tuple[LoggerChoice, ...] = ()


def prepare(
    source: str | Path | StudySpec | None,
    *,
    objective: str | None = None,
    command: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Prepared:
    """Reads a study and checks it, before anything is created or trained.

    Args:
        source: A study file, the name of a study in the database or of a ready-made one, or a
            spec; None with ``objective`` or ``command``.
        objective: Reference of an Optuna objective, ``file.py:function`` or ``module:function``.
        command: A program and its arguments, whose notation says what is searched.
        overrides: Entries that go before those of the source: ``trials``, ``epochs``, ``hours``,
            ``trial_hours``, ``target``, ``patience``, ``total_epochs`` of the budget, and keys of
            the study such as ``seed``; None leaves an entry as it is.
        options: Where the database is, and what else may run here.

    Raises:
        SpecError: The study has mistakes: all of them, also parameters that no task reads.
        TaskError: The task or objective cannot be loaded.
        StoreError: There is no study of that name, or no database.
    """
    changes = _table({k: v for k, v in (overrides or {}).items() if v is not None})
    _require_study(source)
    options = options or RunOptions()
    given = {"storage": options.storage, "workers": options.workers, "is_named": True}
    if isinstance(source, StudySpec):
        parsed = toml.parse_table(source.to_given(), "StudySpec", changes)
        return _checked(parsed, Path.cwd(), given)
    if source is None:
        table = shell_studies.table_of(objective, command)
        parsed = toml.parse_table(table, shell_studies.SOURCE, changes)
        return _checked(parsed, Path.cwd(), {**given, "is_named": "name" in changes})
    file = source if _is_file(source) else _ready_made(str(source), options)
    if file is not None:
        parsed = toml.parse_file(file, overrides=changes)
        checked = _checked(parsed, Path(file).absolute().parent, given)
        return replace(checked, loggers=parsed.loggers)
    return _from_database(str(source), changes, options)


def run(
    source: str | Path | StudySpec,
    *,
    storage: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    artifacts: str | None = None,
    allow: tuple[str, ...] = (),
    log: Sequence[str] = (),
    **overrides: Any,
) -> Study:
    """Runs a study to the end of its budget, and returns it.

    The study is created, or joined if the database has it already.

    Args:
        source: A study file, the name of a study in the database or of a ready-made one, or a
            spec.
        storage: URL of the database; by default ``$HPO_STORAGE``, else ``sqlite:///hpo.db``.
        workers: How many processes; by default one a GPU, or one a core.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0,1`` or ``mps``.
        artifacts: Folder for checkpoints and models.
        allow: Further references of tasks or objectives that may run here.
        log: Loggers, as ``NAME`` or ``NAME=TARGET``: ``"tensorboard"``, ``"mlflow=URI"``.
        **overrides: Entries that go before those of the source: ``trials=60``, ``epochs=27``,
            ``hours``, ``target``, ``seed``; see ``prepare``.

    Raises:
        HpoError: The study is wrong, the database is away, or no worker could work.
        KeyboardInterrupt: Ctrl-C; the study can be continued.
    """
    loggers = logger_choices.merged(
        logger_choices.read_options([log] if isinstance(log, str) else log, "log"),
        logger_choices.of_environment(),
    )
    options = RunOptions(storage, workers, device, artifacts, allow, loggers=loggers)
    prepared = prepare(source, overrides=overrides, options=options)
    loggers = logger_choices.merged(loggers, prepared.loggers)
    options = replace(options, allow=(*allow, *prepared.allow), loggers=loggers)
    session = start(prepared.spec, prepared.base_dir, options, by_name=prepared.by_name)
    events.keep_notices(session.db, session.study.study_id, prepared.notices)
    end = session.wait(live_display(session.db, session.study))
    if end.reason == "interrupted":
        raise KeyboardInterrupt
    if end.reason == "failed":
        raise HpoError(end.message, hint=end.hint)
    if end.exit_code:
        logger.warning("%s", end.message)
    return Study(session.db, session.study.name, artifacts)


def _require_study(source: object) -> None:
    if not isinstance(source, str | Path | StudySpec | None):
        found = type(source).__name__
        raise SpecError(f"a study is a file, a name or a StudySpec; found {found}")


def _is_file(source: str | Path) -> bool:
    # A study's name holds no slash and no file of that name need exist for the error to be right.
    if isinstance(source, Path) or source.endswith(".toml") or "/" in source:
        return True
    return Path(source).is_file()


def _ready_made(name: str, options: RunOptions) -> Path | None:
    """Returns the file of a ready-made study, unless the database has a study of that name."""
    file = ready_made.files().get(name)
    if file is None:
        return None
    try:
        db = open_database(options.storage)
    except StoreError:
        # It does not exist yet, or its start will report what is wrong with it.
        return file
    try:
        return None if name in study_records.names(db) else file
    finally:
        db.dispose()


def _table(changes: Mapping[str, Any]) -> dict[str, Any]:
    known = (*BUDGETS, *StudySpec.model_fields)
    unknown = [name for name in changes if name not in known]
    if unknown:
        problems = [Problem(name, f"unknown{did_you_mean(name, known)}") for name in unknown]
        raise SpecError(source="the call", problems=problems)
    budget = {name: value for name, value in changes.items() if name in BUDGETS}
    table = {name: value for name, value in changes.items() if name not in BUDGETS}
    also = table.get("budget", {})
    if budget and isinstance(also, Mapping):
        table["budget"] = {**also, **budget}
    return table


def _draft_references(parsed: toml.Parsed) -> tuple[str, ...]:
    values = parsed.draft.values
    return tuple(values[key] for key in SUBJECTS if values.get(key))


def _require_no_path(name: str) -> None:
    """Refuses a folder, or a file that is no study, in the place of a study's name.

    Raises:
        SpecError: With the way in which it becomes a study.
    """
    if Path(name).is_dir() or study_files.is_named_as_a_file(name):
        study_files.read_text(name)


def _from_database(name: str, changes: Mapping[str, Any], options: RunOptions) -> Prepared:
    try:
        db = open_database(options.storage)
    except StoreError as error:
        _require_no_path(name)
        study_records.refuse_optunas_own(options.storage, name)
        if close := nearest(name, ready_made.files()):
            message = f"{name} is neither a study file nor a ready-made study"
            raise SpecError(f"{message}; did you mean {close}?", hint=error.message) from None
        raise
    try:
        if name not in study_records.names(db) and not study_records.is_optunas_own(db, name):
            _require_no_path(name)
            paths = map(str, Path("studies").glob("*.toml"))
            close = nearest(name, [*study_records.names(db), *ready_made.files(), *paths])
            also = f"; did you mean {close}?" if close else ""
            raise SpecError(f"{name} is neither a study file nor a study in {db.masked_url}{also}")
        record = study_records.load(db, name)
    finally:
        db.dispose()
    # The creator of the study named the task, not this machine's user.
    parsed = toml.parse_table(record.spec.to_table(), name, changes)
    _raise_if_any(parsed, ())
    assert parsed.spec is not None
    if parsed.spec.command is not None:
        require_command(parsed.spec.command, Allow(options.allow))
    # What was allowed here is looked for here, not where the database says.
    base_dir = Path.cwd() if options.allow else Path(record.base_dir or ".")
    return Prepared(parsed.spec, base_dir, by_name=True)


def _checked(parsed: toml.Parsed, base_dir: Path, given: Mapping[str, Any]) -> Prepared:
    """Adds what only the task can tell: its own choices, and parameters that it does not read.

    Of an objective that is its script: which way it optimises.
    """
    from hpo.run.host import study_preflight

    allow = _draft_references(parsed)
    if parsed.draft.values.get("command") is not None:
        return _checked_command(parsed, base_dir, allow)
    if parsed.draft.task is None:
        _check_objective(parsed, base_dir, allow)
        assert parsed.spec is not None
        spec, remarks = with_script(parsed.spec, parsed.draft, base_dir, given)
        return Prepared(spec, base_dir, allow, remarks=(*remarks, *pausing(spec)))
    try:
        found = study_preflight.check_task(parsed.draft, base_dir, allow)
    except TaskError as error:
        if not parsed.problems:
            raise
        found = study_preflight.TaskFindings((Problem("task", error.message),))
    _raise_if_any(parsed, found.problems)
    assert parsed.spec is not None
    spec = parsed.spec.with_defaults(
        metric=found.metric,
        direction=found.direction,
        space=found.space,
        budget=found.budget,
        validation=found.validation,
    )
    return Prepared(spec, base_dir, allow, notices=found.notices)


def _checked_command(parsed: toml.Parsed, base_dir: Path, allow: tuple[str, ...]) -> Prepared:
    """Sees that the command can start; tells its mistakes and the study's together.

    Raises:
        SpecError: There are some.
    """
    found = parsed.error(command_preflight.problems_of(parsed.draft.values["command"], base_dir))
    if found is not None:
        if parsed.source == shell_studies.SOURCE:
            found.hint = shell_studies.hint_of([problem.key for problem in found.problems])
        raise found
    assert parsed.spec is not None
    return Prepared(parsed.spec, base_dir, allow)


def _check_objective(parsed: toml.Parsed, base_dir: Path, allow: tuple[str, ...]) -> None:
    """Sees that the objective is there; tells its mistakes and the study's together.

    Raises:
        SpecError: There are some.
        TaskError: It cannot be loaded.
    """
    from hpo.run.host import study_preflight

    more: tuple[Problem, ...] = ()
    if parsed.draft.objective is None:
        _raise_if_any(parsed, ())
    assert parsed.draft.objective is not None
    try:
        study_preflight.check_objective(parsed.draft.objective, base_dir, allow)
    except SpecError as error:
        if not error.problems:
            raise
        more = error.problems
    except TaskError as error:
        if not parsed.problems:
            raise
        more = (Problem("objective", error.message),)
    found = parsed.error(more)
    if found is None:
        return
    found.hint = None if more else advice(parsed.draft, base_dir)
    if found.hint is None and any(problem.key == "budget" for problem in found.problems):
        found.hint = "--trials N gives it a budget"
    raise found


def _raise_if_any(parsed: toml.Parsed, more: tuple[Problem, ...]) -> None:
    error = parsed.error(more)
    if error is not None:
        raise error
