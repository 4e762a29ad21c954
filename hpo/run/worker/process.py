"""A worker's process: started by a supervisor, told what to do on its standard input."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from datetime import datetime
from typing import Any, TextIO

from hpo.errors import HpoError, StoreError
from hpo.run.link.log_streams import never_fail
from hpo.run.worker.worker_order import WorkerOrder
from hpo.tracebacks import headline, internal, is_internal, report_of

logger = logging.getLogger(__name__)


class SupervisorPipe:
    """Messages from a worker to its supervisor: one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, **message: Any) -> None:
        """Sends a message, from any thread; a supervisor that has gone is no error."""
        try:
            with self._lock:
                self._stream.write(json.dumps(message) + "\n")
                self._stream.flush()
        except (BrokenPipeError, ValueError):
            logger.info("nobody listens any more")


def main() -> None:
    """Runs one worker to its end. Started as ``python -m hpo.run.worker.process FD``."""
    never_fail()
    channel = os.fdopen(int(sys.argv[1]), "w")
    sys.exit(serve(WorkerOrder.from_json(sys.stdin.read()), channel))


def serve(order: WorkerOrder, channel: TextIO) -> int:
    """Does what it is told; returns the exit code.

    Args:
        order: The study and this worker's place in it.
        channel: Where the supervisor listens.
    """
    wire, stop = SupervisorPipe(channel), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C reaches the whole process group; the supervisor passes on what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    # A forked worker has what the command line wanted to hear.
    logging.getLogger("hpo").setLevel(logging.NOTSET)
    try:
        end = work(order, wire, stop)
    except HpoError as error:
        traceback.print_exc()
        wire.say(end="error", message=str(error), hint=error.hint, exit_code=error.exit_code)
        return error.exit_code
    except BaseException as error:  # noqa: BLE001 - the supervisor is told why this process ends
        traceback.print_exc()
        said = internal("hpo failed", error) if is_internal(error) else headline(error)
        wire.say(end="crash", message=said, exit_code=1)
        return 1
    finally:
        # A forked worker ends without Python's own farewell.
        _close_databases()
    wire.say(end=end, message="", exit_code=0)
    return 0


def _close_databases() -> None:
    from hpo.store.db import engines

    engines.close_all()


def work(order: WorkerOrder, wire: SupervisorPipe, stop: threading.Event) -> str:
    """Opens the study and works on it; returns how it ended.

    Raises:
        HpoError: The database, the study or its task cannot be used here.
    """
    # First, because what follows takes seconds to load, and a supervisor may be killed meanwhile.
    threading.Thread(target=_watch_parent, args=(os.getppid(), stop), daemon=True).start()
    # Loaded here: a worker that is told to stop while PyTorch loads shall know how.
    from hpo.run.link.retry import Stopped

    warnings.simplefilter("ignore")
    try:
        context = _take_post(order, wire, stop)
    except Stopped:
        return "interrupted"
    wire.say(worker_id=context.worker_id)
    from hpo.run.worker.deleted_study import telling_of_deletion

    with telling_of_deletion(context):
        return _attend(order, context, wire)


def _attend(order: WorkerOrder, context: Any, wire: SupervisorPipe) -> str:
    """Works at a post to the end, and leaves it."""
    from hpo.run.worker import executors
    from hpo.run.worker.loop import BEATS_PER_GRACE, Heartbeat, Worker, note_usage
    from hpo.run.worker.spoiled_rows import naming_the_row

    with naming_the_row(context.db, context.study.study_id):
        executor = executors.make_executor(order, context)
    wire.say(ready=True)
    interval_s = context.ledger.grace_s / BEATS_PER_GRACE
    heartbeat = Heartbeat(context, executor, interval_s, lambda why: _abandon(context, wire, why))
    heartbeat.start()
    try:
        worker = Worker(
            context, executor, lambda: wire.say(ended=True), lambda: wire.say(begun=True)
        )
        with naming_the_row(context.db, context.study.study_id):
            end = worker.run()
    except HpoError:
        _leave(context)
        raise
    except Exception as error:
        _note_fault(context, error)
        raise
    finally:
        heartbeat.end()
    with contextlib.suppress(StoreError):
        note_usage(context, executor)
    # Not after a crash: the supervisor tells of that, so that the trial counts an attempt.
    _leave(context)
    return end


def _leave(context: Any) -> None:
    from hpo.store.ledger import workers

    # A database that is away learns it from whoever reaps: the process is gone. Outcomes that
    # are in the spool count only while their leases do, so those must not be freed before.
    with contextlib.suppress(StoreError):
        context.client.try_call(lambda: workers.retire(context.db, context.worker_id), None)


def _note_fault(context: Any, error: Exception) -> None:
    """Records a fault of hpo's own that ends this process; the supervisor tells of it."""
    from hpo.store.rows import events

    if is_internal(error):
        event = events.Event(
            context.study.study_id, "internal", report_of(error), worker_id=context.worker_id
        )
        # Not what has raised, and not to hide it.
        with contextlib.suppress(Exception):
            context.client.try_call(lambda: events.record_once(context.db, event), None)


def _abandon(context: Any, wire: SupervisorPipe, why: str) -> None:
    """Ends this process from another thread than the one that hangs; another one is started."""
    import psutil

    logger.warning("%s; ending this process", why)
    _leave(context)
    wire.say(end="hung", message=why, exit_code=1)
    # What user code has started would go on for ever, and keep the device.
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


def _take_post(order: WorkerOrder, wire: SupervisorPipe, stop: threading.Event) -> Any:
    import optuna

    from hpo.run.files.artifacts import Artifacts
    from hpo.run.link.context import WorkerContext
    from hpo.run.link.database_client import DatabaseClient
    from hpo.run.link.retry import retry
    from hpo.run.link.retrying_storage import retrying
    from hpo.run.link.watchdog import Watchdog
    from hpo.run.worker.spoiled_rows import naming_the_row
    from hpo.search.optuna.study_search import Search
    from hpo.store.db.database import Database
    from hpo.store.db.opening import open_database
    from hpo.store.ledger import budgets, workers
    from hpo.store.ledger.ledger import Ledger
    from hpo.store.optuna.storage import Storage
    from hpo.store.studies import studies
    from hpo.store.studies.studies import StudyRecord

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    away = Database(order.url)

    def tell(why: str) -> None:
        wire.say(away=why)

    def enter() -> tuple[Database, StudyRecord, Any, int]:
        db = open_database(order.url)
        try:
            if order.study_id is None:
                study = studies.load(db, order.study_name)
            else:
                created_at = datetime.fromisoformat(order.created_at)
                study = studies.load_again(db, order.study_id, created_at, order.study_name)
            with naming_the_row(db, study.study_id):
                learnt = _learnt(db, study)
            return db, study, learnt, workers.register(db, study.study_id, order.device)
        except BaseException:
            # The next try opens its own connection.
            db.dispose()
            raise

    db, study, portfolio, worker_id = retry(away, enter, stop, tell)
    ledger = Ledger(db)
    client = DatabaseClient(db, ledger, study.study_id, worker_id, stop, tell)
    storage, watch = Storage(db, {study.spec.name: study.study_id}), Watchdog()
    own = retrying(storage, client, watch) if study.spec.objective else storage
    return WorkerContext(
        db=db,
        study=study,
        ledger=ledger,
        search=Search(study.spec, own, portfolio),
        worker_id=worker_id,
        artifacts=Artifacts.of(study, order.url, order.artifacts),
        client=client,
        stop=stop,
        trial_s=budgets.trial_s(study.budget.trial_hours),
        patience=study.budget.patience,
        target=study.budget.target,
        portfolio=portfolio,
        watchdog=watch,
        notify=lambda text: wire.say(warning=text),
    )


def _learnt(db: Any, study: Any) -> Any:
    """Returns first points from other studies, where the study learns from them."""
    from hpo.search.base.auto import learns_from_others

    if not learns_from_others(study.spec):
        return None
    from hpo.run.worker.transfer import portfolio_of

    return portfolio_of(db, study)


def _watch_parent(parent: int, stop: threading.Event) -> None:
    # A supervisor killed with -9 tells nobody; its workers shall not go on unseen.
    while not stop.wait(1.0):
        if os.getppid() != parent:
            logger.warning("the supervisor is gone; putting the trials down")
            stop.set()


if __name__ == "__main__":
    main()
