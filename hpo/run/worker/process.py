"""Worker process: started by a supervisor, with its order on standard input and a pipe to it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from typing import TextIO

from hpo.errors import HpoError
from hpo.run.link.log_streams import ignore_write_errors
from hpo.run.worker.supervisor_pipe import SupervisorPipe, WorkerOrder
from hpo.tracebacks import headline, internal, is_internal

logger = logging.getLogger(__name__)


def main() -> None:
    """Runs one worker to its end. Started as ``python -m hpo.run.worker.process FD``."""
    ignore_write_errors()
    channel = os.fdopen(int(sys.argv[1]), "w")
    sys.exit(serve(WorkerOrder.from_json(sys.stdin.read()), channel))


def serve(order: WorkerOrder, channel: TextIO) -> int:
    """Works as ordered; returns the exit code.

    Args:
        order: The study and this worker's device.
        channel: The supervisor reads its other end.
    """
    pipe, stop = SupervisorPipe(channel), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C reaches the whole process group; the supervisor passes on what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    # A forked worker has the level of the command line.
    logging.getLogger("hpo").setLevel(logging.NOTSET)
    try:
        end = work(order, pipe, stop)
    except HpoError as error:
        traceback.print_exc()
        pipe.send(end="error", message=str(error), hint=error.hint, exit_code=error.exit_code)
        return error.exit_code
    except BaseException as error:  # noqa: BLE001 - the supervisor is told why this process ends
        traceback.print_exc()
        message = internal("hpo failed", error) if is_internal(error) else headline(error)
        pipe.send(end="crash", message=message, exit_code=1)
        return 1
    pipe.send(end=end, message="", exit_code=0)
    return 0


def work(order: WorkerOrder, pipe: SupervisorPipe, stop: threading.Event) -> str:
    """Opens the study and works on it; returns how the worker ended.

    Raises:
        HpoError: The database, the study or its task cannot be used here.
    """
    # First, because what follows takes seconds to load, and a supervisor may be killed meanwhile.
    threading.Thread(target=_watch_parent, args=(os.getppid(), stop), daemon=True).start()
    # Loaded here, for it brings PyTorch: a worker may be told to stop while that loads.
    from hpo.run.worker import compose

    warnings.simplefilter("ignore")
    return compose.run_worker(order, pipe, stop)


def _watch_parent(parent: int, stop: threading.Event) -> None:
    # A supervisor killed with -9 tells its workers nothing; they must not continue unseen.
    while not stop.wait(1.0):
        if os.getppid() != parent:
            logger.warning("the supervisor is gone; releasing the trials")
            stop.set()


if __name__ == "__main__":
    main()
