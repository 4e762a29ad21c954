"""Composition root of a worker: database, search, context, executor and loop, wired together."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import optuna
import psutil
import torch

from hpo.errors import HpoError, SpecError, StoreError
from hpo.run.assignment.scheduling import make_assigner
from hpo.run.files.artifacts import Artifacts
from hpo.run.files.model_metadata import ModelMetadata
from hpo.run.link.context import WorkerContext
from hpo.run.link.database_client import DatabaseClient
from hpo.run.link.retry import Stopped, retry
from hpo.run.link.retrying_storage import retrying
from hpo.run.link.watchdog import Watchdog
from hpo.run.scripts.command_executor import CommandExecutor
from hpo.run.trials.executor import Executor
from hpo.run.trials.objective_executor import ObjectiveExecutor
from hpo.run.trials.task_executor import TaskExecutor
from hpo.run.worker.fused_setup import fused_engine
from hpo.run.worker.malloc_settings import keep_freed
from hpo.run.worker.study_errors import deletion_named, unreadable_row_named
from hpo.run.worker.supervisor_pipe import SupervisorPipe, WorkerOrder
from hpo.run.worker.transfer import portfolio_of
from hpo.run.worker.worker_loop import Heartbeat, LoopSettings, Worker, note_usage
from hpo.search.base.auto import learns_from_others
from hpo.search.model.portfolio import Portfolio
from hpo.search.optuna.study_search import Search
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger import budgets, workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.rows import events
from hpo.store.studies import provenance, study_records
from hpo.store.studies.provenance import DataVersion
from hpo.store.studies.study_records import StudyRecord
from hpo.tasks.code.command_permission import require_command
from hpo.tasks.code.resolve import Allow, load_objective, resolve
from hpo.tracebacks import is_internal, report_of
from hpo.train.data.loading.loaded_splits import AnySplits, LoadedSplits
from hpo.train.loop.fold_engine import with_parts
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task, data_of
from hpo.train.user_code_guard import user_code

logger = logging.getLogger(__name__)


def run_worker(order: WorkerOrder, pipe: SupervisorPipe, stop: threading.Event) -> str:
    """Registers as a worker of the study, works, and leaves; returns how it ended.

    Raises:
        HpoError: The database, the study or its task cannot be used here.
    """
    try:
        context = open_context(order, pipe, stop)
    except Stopped:
        return "interrupted"
    pipe.send(worker_id=context.worker_id)
    context.client.trial_log.start(context.worker_id)
    with deletion_named(context):
        return _work(order, context, pipe)


def _work(order: WorkerOrder, context: WorkerContext, pipe: SupervisorPipe) -> str:
    with unreadable_row_named(context.db, context.study.study_id):
        executor = make_executor(order, context)
    pipe.send(ready=True)
    interval_s = context.ledger.grace_s / LoopSettings().beats_per_grace
    heartbeat = Heartbeat(context, executor, interval_s, lambda why: _abandon(context, pipe, why))
    heartbeat.start()
    try:
        worker = Worker(
            context, executor, lambda: pipe.send(ended=True), lambda: pipe.send(begun=True)
        )
        with unreadable_row_named(context.db, context.study.study_id):
            end = worker.run()
    except HpoError:
        _leave(context)
        raise
    except Exception as error:
        _record_fault(context, error)
        raise
    finally:
        heartbeat.end()
    with contextlib.suppress(StoreError):
        note_usage(context, executor)
    # Not after a crash: the supervisor reports that, so that the trial counts an attempt.
    _leave(context)
    return end


class _Registered(NamedTuple):
    db: Database
    study: StudyRecord
    portfolio: Portfolio | None
    worker_id: int


def open_context(order: WorkerOrder, pipe: SupervisorPipe, stop: threading.Event) -> WorkerContext:
    """Opens the study, registers this worker, and returns what its parts share.

    Raises:
        Stopped: It was told to stop while the database was away.
        HpoError: The database or the study cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)

    def notify_outage(reason: str) -> None:
        pipe.send(away=reason)

    db, study, portfolio, worker_id = retry(
        Database(order.url), lambda: _register(order), stop, notify_outage
    )
    ledger, watchdog = Ledger(db), Watchdog()
    client = DatabaseClient(
        db, ledger, study.study_id, worker_id, stop, notify_outage, pipe.note_report
    )
    storage = Storage(db, {study.spec.name: study.study_id})
    search_storage = retrying(storage, client, watchdog) if study.spec.objective else storage
    return WorkerContext(
        db=db,
        study=study,
        ledger=ledger,
        search=Search(study.spec, search_storage, portfolio),
        worker_id=worker_id,
        artifacts=Artifacts.of(study, order.url, order.artifacts),
        client=client,
        stop=stop,
        trial_s=budgets.trial_s(study.budget.trial_hours),
        patience=study.budget.patience,
        target=study.budget.target,
        portfolio=portfolio,
        watchdog=watchdog,
        notify=lambda text: pipe.send(warning=text),
    )


def _register(order: WorkerOrder) -> _Registered:
    db = open_database(order.url)
    try:
        if order.study_id is None:
            study = study_records.load(db, order.study_name)
        else:
            created_at = datetime.fromisoformat(order.created_at)
            study = study_records.load_again(db, order.study_id, created_at, order.study_name)
        with unreadable_row_named(db, study.study_id):
            portfolio = portfolio_of(db, study) if learns_from_others(study.spec) else None
        worker_id = workers.register(db, study.study_id, order.device)
        return _Registered(db, study, portfolio, worker_id)
    except BaseException:
        # The next try opens its own connection.
        db.dispose()
        raise


def make_executor(order: WorkerOrder, context: WorkerContext) -> Executor:
    """Loads what the study trains and returns what runs its trials.

    Raises:
        HpoError: It cannot be loaded, or may not run here.
    """
    keep_freed()
    spec = context.study.spec
    allow = Allow(order.allow)
    base_dir = Path(order.base_dir or context.study.base_dir or ".")
    if spec.objective is not None:
        return ObjectiveExecutor(context, load_objective(spec.objective, base_dir, allow))
    if spec.command is not None:
        require_command(spec.command, allow)
        return CommandExecutor(context, base_dir)
    if not spec.directions:
        raise SpecError(
            f"{context.study.name} names no metric; a version of hpo that did not ask made it",
            hint="run its study file under another name",
        )
    assert spec.task is not None
    torch.set_num_threads(order.n_threads)
    task = resolve(spec.task, spec.task_options, base_dir, allow)
    with user_code(f"the task {spec.task}"):
        task.setup()
        data = data_of(task)
        folds = data.folds(spec.validation)
    for one in folds:
        if isinstance(one, LoadedSplits):
            one.seeded_by(spec.seed)
    metadata = ModelMetadata(
        context.study, task, data, folds, lambda *found: _note_data(context, DataVersion(*found))
    )
    context.model_metadata = metadata.of_trial
    return _task_executor(order.device, context, task, folds)


def _note_data(context: WorkerContext, data: DataVersion) -> None:
    """Records which data the study's trials have, for reports; training can do without."""
    study_id = context.study.study_id
    # If the database is useless now, the next report of a trial says so.
    with contextlib.suppress(StoreError):
        context.client.try_call(lambda: provenance.note_data(context.db, study_id, data), None)


def _task_executor(
    device: str, context: WorkerContext, task: Task, folds: tuple[AnySplits, ...]
) -> Executor:
    spec = context.study.spec
    if spec.engine != "solo" and device != "mps":
        return fused_engine(context, task, folds, device)
    engine = SoloEngine(task, folds, spec.metrics, spec.directions[0], device)
    whole = with_parts(engine, spec.validation, spec.metrics, spec.directions[0])
    return TaskExecutor(context, whole, make_assigner(context))


def _leave(context: WorkerContext) -> None:
    # While the database is away it is told by the next worker that reaps: the process is gone.
    # Outcomes in the outbox count only as long as their leases, so those must not be freed before.
    with contextlib.suppress(StoreError):
        context.client.try_call(lambda: workers.retire(context.db, context.worker_id), None)


def _record_fault(context: WorkerContext, error: Exception) -> None:
    """Records a fault of hpo's own that ends this process; the supervisor reports it."""
    if is_internal(error):
        event = events.Event(
            context.study.study_id, "internal", report_of(error), worker_id=context.worker_id
        )
        # An error of this call must not hide the one that is raised.
        with contextlib.suppress(Exception):
            context.client.try_call(lambda: events.record_once(context.db, event), None)


def _abandon(context: WorkerContext, pipe: SupervisorPipe, why: str) -> None:
    """Ends this process from another thread than the one that hangs; another one is started."""
    logger.warning("%s; ending this process", why)
    _leave(context)
    pipe.send(end="hung", message=why, exit_code=1)
    # Processes that user code has started would run for ever, and keep the device.
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)
