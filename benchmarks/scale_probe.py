"""What `scale.py` measures in a process of its own: ``scale_probe.py WHAT URL STUDY SPAWNED_AT``.

Prints one line of JSON: seconds since the process was spawned, its start and imports included;
seconds since the imports were done; seconds of processor time; peak memory of the process in MiB.
What a probe leaves in the database is put away after that.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Found: TypeAlias = "dict[str, float] | None"
N_LOOKS = 5


def join_hpo(url: str, name: str) -> Iterator[Found]:
    """Joins a study as a worker does, up to the params of its first trial."""
    from hpo.search.optuna.study_search import Search
    from hpo.store.db.opening import open_database
    from hpo.store.ledger import workers
    from hpo.store.ledger.leases import Outcome
    from hpo.store.ledger.ledger import Ledger
    from hpo.store.optuna.storage import Storage
    from hpo.store.studies import study_records

    yield None
    db = open_database(url)
    study = study_records.load(db, name)
    worker_id = workers.register(db, study.study_id, "cpu")
    search = Search(study.spec, Storage(db))
    (lease,) = Ledger(db).claim(study.study_id, worker_id, 1).leases
    params = search.params(lease.trial_id)
    yield None
    assert len(params) == len(study.spec.space)
    # So that the next probe draws params, too, instead of continuing this trial.
    Ledger(db).settle([Outcome(lease.trial_id, lease.token, "failed")])
    workers.retire(db, worker_id)


def join_optuna(url: str, name: str) -> Iterator[Found]:
    """The same with plain Optuna: load the study, ask, suggest every param."""
    import optuna
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    from hpo.search.base.distributions import suggest
    from hpo.store.db.opening import open_database
    from hpo.store.studies import study_records

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    db = open_database(url)
    space = study_records.load(db, name).spec.space
    yield None
    storage = optuna.storages.RDBStorage(db.url)
    study = optuna.load_study(study_name=name, storage=storage, sampler=TPESampler(seed=0))
    trial = study.ask()
    params = suggest(trial, space)
    yield None
    assert len(params) == len(space)
    study.tell(trial, state=TrialState.FAIL)


def look(url: str, name: str) -> Iterator[Found]:
    """Looks at a study as a worker does before each claim: first, and with nothing new."""
    # The servers are those of the tests; a script sees its own folder only.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import sqlalchemy as sa

    from hpo.run.assignment.scheduling import Scheduling, make_assigner
    from hpo.run.link.context import WorkerContext
    from hpo.run.link.database_client import DatabaseClient
    from hpo.search.optuna.study_search import Search
    from hpo.store.db.opening import open_database
    from hpo.store.ledger.ledger import Ledger
    from hpo.store.optuna.storage import Storage
    from hpo.store.studies import study_records
    from tests.kits.outages import Cable

    parsed, cable = sa.make_url(url), None
    if parsed.port is not None:
        cable = Cable(parsed.port)
        url = parsed.set(host="127.0.0.1", port=cable.port).render_as_string(hide_password=False)
    yield None
    db = open_database(url)
    study = study_records.load(db, name)
    unused: Any = None
    search, ledger = Search(study.spec, Storage(db)), Ledger(db)
    client = DatabaseClient(db, ledger, study.study_id, 0, threading.Event())
    plan = make_assigner(WorkerContext(db, study, ledger, search, 0, unused, client))
    assert isinstance(plan, Scheduling)

    def measured() -> tuple[float, float]:
        before = 0 if cable is None else cable.n_bytes
        used_s = time.thread_time()
        plan._update(*plan._look())
        used_s = time.thread_time() - used_s
        return 1000 * used_s, (0 if cable is None else cable.n_bytes - before) / 1000

    first = measured()
    again = [measured() for _ in range(N_LOOKS)]
    assert len(plan._view.curves.numbers) == len(search.trials())
    yield {
        "first_ms": first[0],
        "first_kb": first[1],
        "again_ms": min(ms for ms, _ in again),
        "again_kb": max(kb for _, kb in again),
    }
    db.dispose()


def ls(url: str, name: str) -> Iterator[Found]:
    """Reads what `hpo ls` shows."""
    from hpo.report.study_list import list_studies
    from hpo.store.db.opening import open_database

    yield None
    list_studies(open_database(url))
    yield None


def show(url: str, name: str) -> Iterator[Found]:
    """Reads what `hpo show` shows."""
    from hpo.report.overview import overview
    from hpo.report.study_queries import find
    from hpo.store.db.opening import open_database

    yield None
    db = open_database(url)
    overview(db, find(db, name))
    yield None


def trials(url: str, name: str) -> Iterator[Found]:
    """Reads what `hpo trials --limit 20` shows."""
    from hpo.report.study_queries import find
    from hpo.report.trial_pages import Page, list_trials
    from hpo.store.db.opening import open_database

    yield None
    db = open_database(url)
    list_trials(db, find(db, name), Page(limit=21))
    yield None


# Each yields when its imports are done, and when it has what it is after.
PROBES = {
    "hpo": join_hpo,
    "optuna": join_optuna,
    "look": look,
    "ls": ls,
    "show": show,
    "trials": trials,
}


def main() -> None:
    """Runs one probe."""
    what, url, name, spawned_at = sys.argv[1:]
    probe = PROBES[what](url, name)
    next(probe)
    began = time.perf_counter()
    more = next(probe) or {}
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "within_s": time.perf_counter() - began,
        "whole_s": time.time() - float(spawned_at),
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }
    found |= more
    next(probe, None)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
