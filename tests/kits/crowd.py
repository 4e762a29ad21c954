"""Worker processes that train nothing: they claim, report and settle as fast as they can."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from multiprocessing.process import BaseProcess

from hpo.store.db.opening import open_database
from hpo.store.ledger import workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import studies
from tests.kits import ledger_kit as kit

# Forked from a server that has imported everything: spawning eight interpreters would take
# longer than what they do.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.kits.crowd", "psycopg", "pymysql"])


def start(n: int, url: str, study: str, *, n_trials: int, dies: bool = False) -> list[BaseProcess]:
    """Starts ``n`` workers; those that die kill themselves while they hold trials."""
    started: list[BaseProcess] = []
    for index in range(n):
        process = _CONTEXT.Process(target=work, args=(url, study, n_trials, index, dies))
        process.start()
        started.append(process)
    return started


def join(crowd: list[BaseProcess], timeout_s: float = 90.0) -> list[int | None]:
    """Waits for workers and returns their exit codes."""
    for process in crowd:
        process.join(timeout_s)
    codes = [process.exitcode for process in crowd]
    for process in crowd:
        process.kill()
        process.join()
        process.close()
    return codes


def work(url: str, study: str, n_trials: int, seed: int, dies: bool) -> None:
    """Works until the study has nothing left; one that dies does so holding trials."""
    dice = random.Random(seed)
    db = open_database(url, create=True)
    spec = kit.spec(study, trials=n_trials, epochs=2)
    study_id = studies.create_or_join(db, spec, None)[0].study_id
    ledger, worker_id = Ledger(db), workers.register(db, study_id, "cpu")
    while True:
        claim = ledger.claim(study_id, worker_id, dice.randint(1, 16))
        if claim.exhausted:
            break
        rows = [kit.epoch_row(lease, 1) for lease in claim.leases]
        assert ledger.report(rows) == set()
        if dies and claim.leases:
            os.kill(os.getpid(), signal.SIGKILL)
        assert ledger.report([kit.epoch_row(lease, 2) for lease in claim.leases]) == set()
        assert ledger.settle([kit.outcome(lease) for lease in claim.leases]) == set()
    workers.retire(db, worker_id)
    db.dispose()
