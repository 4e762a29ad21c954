"""Session: the workers of this machine on one study, their signals, and how they end."""

from __future__ import annotations

import logging
import shlex
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from hpo.errors import StoreError
from hpo.run.files.artifacts import Artifacts
from hpo.run.host import environment
from hpo.run.host.placement import DevicePlacement, describe
from hpo.run.host.supervisor import Supervisor
from hpo.run.link.database_client import DEADLINE_S
from hpo.run.link.retry import DATABASE_ERRORS, call_with_deadline
from hpo.run.loggers.logger_host import LoggerHosts
from hpo.run.loggers.logger_process import LoggerOrder
from hpo.run.worker.supervisor_pipe import WorkerOrder
from hpo.spec.logger_choices import LoggerChoice
from hpo.spec.sections import ResourceSpec
from hpo.store.db.database import Database
from hpo.store.ledger import outbox, spending, workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.rows import events
from hpo.store.studies import provenance, study_records
from hpo.store.studies.study_records import StudyRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """The part of this machine in a study.

    Attributes:
        storage: URL of the database; by default ``$HPO_STORAGE``, else ``sqlite:///hpo.db``.
        workers: How many worker processes; by default one a GPU, or one a core.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0,1`` or ``mps``.
        artifacts: Folder for checkpoints and models; machines that share it continue each
            other's trials.
        allow: References of tasks and objectives that may run on this machine.
        resources: What a trial uses on this machine; entries go before those of the study.
        loggers: Where this machine's user wants curves and endings to be logged.
    """

    storage: str | None = None
    workers: int | None = None
    device: str = "auto"
    artifacts: str | None = None
    allow: tuple[str, ...] = ()
    resources: ResourceSpec = field(default_factory=ResourceSpec)
    loggers: tuple[LoggerChoice, ...] = ()


@dataclass(frozen=True)
class RunEnd:
    """The end of this machine's part in a study.

    Attributes:
        reason: ``done``, ``interrupted``, ``stopped`` by `hpo stop` or ``failed``.
        message: Why, in one line.
        exit_code: 0 done, 1 failed, 130 interrupted or stopped, or the worker's own.
        hint: What to do about it.
    """

    reason: str
    message: str = ""
    exit_code: int = 0
    hint: str | None = None


class Session:
    """Workers of this machine on one study.

    Args:
        db: The database.
        study: The study.
        options: How this machine takes part; the resources are all that a trial uses here.
        places: The places of the workers.
        created: Whether the study is new.
        base_dir: Folder that the study's relative paths refer to here.
        is_named_here: Whether the user has named that folder, and not only the database.

    Attributes:
        notice: What Ctrl-C has begun.
        trouble: Why the workers cannot use the database now; empty while they can.
    """

    def __init__(
        self,
        db: Database,
        study: StudyRecord,
        options: RunOptions,
        places: tuple[DevicePlacement, ...],
        *,
        created: bool,
        base_dir: Path | None,
        is_named_here: bool = True,
    ) -> None:
        self.db = db
        self.study = study
        self.created = created
        self._places = places
        self.n_workers = len(places)
        self.device = describe(places, options.resources)
        self.engine = study.spec.engine if study.spec.kind == "task" else study.spec.kind
        self.artifacts = Artifacts.of(study, db.url, options.artifacts)
        self.notice = ""
        self.trouble = ""
        self._n_interrupts = 0
        self._is_database_hung = False
        self._own_dir = base_dir if is_named_here else None
        self._since_event = events.newest(db, study.study_id)
        self._order = _order(db, study, options, base_dir)
        self._loggers = LoggerHosts(
            _logger_order(db, study, options), self.artifacts.folder / "logs"
        )
        # First what the dead have kept: once they are reaped it is no longer valid.
        outbox.adopt(db, study.study_id)
        Ledger(db).reap(study.study_id)

    def wait(self, on_tick: Callable[[], None] | None = None, interval_s: float = 0.1) -> RunEnd:
        """Runs the workers until they are through.

        The first Ctrl-C lets the workers put their trials down, so that the study can be
        continued; the second ends them at once, and their trials continue from their last
        checkpoint. Python hands signals to the main thread alone: a session that waits in another
        one does not notice them.

        Args:
            on_tick: Called about every ``interval_s`` seconds.
            interval_s: Seconds between two looks at the workers.
        """
        if self.study.state == "done":
            # Workers would load PyTorch to find nothing to do.
            if on_tick:
                on_tick()
            self._log_history()
            self.db.merge_log()
            return RunEnd("done")
        caught = (signal.SIGINT, signal.SIGTERM) if _is_main_thread() else ()
        previous = {n: signal.signal(n, self._interrupt) for n in caught}
        supervisor = Supervisor(self._order, self._places, self.artifacts.log, self._on_death)
        self._loggers.start()
        try:
            return self._watch(supervisor, on_tick, interval_s)
        finally:
            supervisor.kill()
            n_before = self._n_interrupts
            self._loggers.finish(lambda: self._n_interrupts > max(1, n_before))
            # Workers that were killed have left what they wrote in SQLite's log.
            self.db.merge_log()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _watch(
        self, supervisor: Supervisor, on_tick: Callable[[], None] | None, interval_s: float
    ) -> RunEnd:
        # While the workers load their modules.
        self._note_environment()
        passed_on = 0
        while supervisor.n_alive:
            if self._n_interrupts > passed_on:
                passed_on = self._n_interrupts
                supervisor.stop() if passed_on == 1 else supervisor.kill()
            supervisor.poll()
            self._loggers.poll()
            self.trouble = supervisor.trouble
            if on_tick:
                on_tick()
            time.sleep(interval_s)
        if on_tick:
            on_tick()
        return self._end(supervisor)

    def _log_history(self) -> None:
        """Logs the trials of a study that is done, as far as they are not logged yet."""
        self._loggers.start()
        try:
            self._loggers.finish()
        finally:
            self._loggers.kill()

    def _note_environment(self) -> None:
        """Records what the study runs with here; a report says it, and no trial depends on it."""
        found = environment.of_study(self.study.spec, self._own_dir)
        try:
            call_with_deadline(
                lambda: provenance.note_environment(self.db, self.study.study_id, found),
                threading.Event(),
                DEADLINE_S,
            )
        except (*DATABASE_ERRORS, TimeoutError) as error:
            logger.info("the environment is not recorded: %s", error)

    def _end(self, supervisor: Supervisor) -> RunEnd:
        failed = [end for end in supervisor.ends if end.end in ("error", "died")]
        if failed and len(failed) == len(supervisor.ends):
            first = failed[0]
            return RunEnd("failed", first.message, first.exit_code or 1, first.hint)
        if self._n_interrupts:
            return RunEnd("interrupted", "interrupted; run the same command again to resume", 130)
        for end in failed:
            logger.warning("a worker could not work: %s", end.message)
        study = study_records.reload(self.db, self.study)
        if study.state == "stopped":
            return stopped_end(self.db, study)
        if study.state != "done" and any(end.end == "interrupted" for end in supervisor.ends):
            message = "a trial raised KeyboardInterrupt; run the same command again to resume"
            return RunEnd("interrupted", message, 130)
        return self._done()

    def _done(self) -> RunEnd:
        """Returns the end of a study that is done; faults of hpo's own are reported again."""
        faults = events.since(self.db, self.study.study_id, self._since_event, "internal")
        if not faults:
            return RunEnd("done")
        first = faults[0].message.rstrip().rpartition("\n")[2]
        n = len(faults)
        message = f"hpo itself failed {n} time{'s' * (n > 1)}: {first}"
        name = shlex.quote(self.study.name)
        return RunEnd("done", message, 1, f"`hpo show {name} -f json` has the traceback")

    def _on_death(self, worker_id: int) -> None:
        def retire() -> None:
            outbox.adopt(self.db, self.study.study_id)
            workers.retire(self.db, worker_id, lost=True)

        # A later reap finds that its process is gone, so this does not wait for a database that
        # does not answer, once for each of many workers.
        if self._is_database_hung:
            return
        try:
            call_with_deadline(retire, threading.Event(), DEADLINE_S)
        except TimeoutError:
            self._is_database_hung = True
        except StoreError as error:
            logger.info("the death of worker %d is not recorded yet: %s", worker_id, error)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # Only noted here: a handler may run between any two lines of the program.
        self._n_interrupts += 1
        self.notice = (
            "suspending the running trials; Ctrl-C again ends them at once"
            if self._n_interrupts == 1
            else "ending at once"
        )


def stopped_end(db: Database, study: StudyRecord) -> RunEnd:
    """Returns the end of a study that was stopped: by a person, or by itself with a reason."""
    name, more = shlex.quote(study.name), spending.extension_command(db, study.study_id)
    way = f"`hpo resume {name}` resumes it"
    if more:
        way = f"its budget is spent: `{more}` gives it more to do"
    if study.reason:
        hint = f"`hpo show {name}` tells more; {way}"
        if "--direction" in study.reason:
            hint = "give the same command with them; the study has no results, and begins anew"
        return RunEnd("failed", f"{study.name} stopped itself: {study.reason}", 1, hint)
    message = f"{study.name} is stopped; {way}"
    return RunEnd("stopped", message, 130)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _order(
    db: Database, study: StudyRecord, options: RunOptions, base_dir: Path | None
) -> WorkerOrder:
    return WorkerOrder(
        url=db.url,
        study_name=study.name,
        artifacts=options.artifacts,
        allow=options.allow,
        base_dir=str(base_dir.absolute()) if base_dir else None,
        study_id=study.study_id,
        created_at=study.created_at.isoformat(),
    )


def _logger_order(db: Database, study: StudyRecord, options: RunOptions) -> LoggerOrder:
    return LoggerOrder(
        url=db.url,
        study_id=study.study_id,
        created_at=study.created_at.isoformat(),
        study_name=study.name,
        artifacts=options.artifacts,
        choices=options.loggers,
    )
