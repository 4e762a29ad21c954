"""What `scale.py` measures in a process of its own: ``scale_probe.py WHAT URL STUDY SPAWNED_AT``.

Prints one line of JSON: seconds since the process was spawned, its start and imports included;
seconds since the imports were done; seconds of processor time; peak memory of the process in MiB.
What a probe leaves in the database is put away after that.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator


def join_hpo(url: str, name: str) -> Iterator[None]:
    """Joins a study as a worker does, up to the params of its first trial."""
    from hpo.search.search import Search
    from hpo.store import studies, workers
    from hpo.store.database import Database
    from hpo.store.ledger import Ledger, Outcome
    from hpo.store.storage import Storage

    yield
    db = Database.open(url)
    study = studies.load(db, name)
    worker_id = workers.register(db, study.study_id, "cpu")
    search = Search(study.spec, Storage(db))
    (lease,) = Ledger(db).claim(study.study_id, worker_id, 1).leases
    params = search.params(lease.trial_id)
    yield
    assert len(params) == len(study.spec.space)
    # The next probe shall draw params, too, instead of going on with this trial.
    Ledger(db).settle([Outcome(lease.trial_id, lease.token, "failed")])
    workers.retire(db, worker_id)


def join_optuna(url: str, name: str) -> Iterator[None]:
    """The same with plain Optuna: load the study, ask, suggest every param."""
    import optuna
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    from hpo.search.distributions import suggest
    from hpo.store import studies
    from hpo.store.database import Database

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    db = Database.open(url)
    space = studies.load(db, name).spec.space
    yield
    storage = optuna.storages.RDBStorage(db.url)
    study = optuna.load_study(study_name=name, storage=storage, sampler=TPESampler(seed=0))
    trial = study.ask()
    params = suggest(trial, space)
    yield
    assert len(params) == len(space)
    study.tell(trial, state=TrialState.FAIL)


def ls(url: str, name: str) -> Iterator[None]:
    """Reads what `hpo ls` shows."""
    from hpo.report.queries import list_studies
    from hpo.store.database import Database

    yield
    list_studies(Database.open(url))
    yield


def show(url: str, name: str) -> Iterator[None]:
    """Reads what `hpo show` shows."""
    from hpo.report.overview import overview
    from hpo.report.queries import find
    from hpo.store.database import Database

    yield
    db = Database.open(url)
    overview(db, find(db, name))
    yield


def trials(url: str, name: str) -> Iterator[None]:
    """Reads what `hpo trials --limit 20` shows."""
    from hpo.report.queries import find
    from hpo.report.trials import Page, list_trials
    from hpo.store.database import Database

    yield
    db = Database.open(url)
    list_trials(db, find(db, name), Page(limit=21))
    yield


# Each yields when its imports are done, and when it has what it is after.
PROBES = {"hpo": join_hpo, "optuna": join_optuna, "ls": ls, "show": show, "trials": trials}


def main() -> None:
    """Runs one probe."""
    what, url, name, spawned_at = sys.argv[1:]
    probe = PROBES[what](url, name)
    next(probe)
    began = time.perf_counter()
    next(probe)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "within_s": time.perf_counter() - began,
        "whole_s": time.time() - float(spawned_at),
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }
    next(probe, None)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
