"""A worker's place in a study, as its process takes it, for tests of what runs there."""

from __future__ import annotations

import threading
from pathlib import Path

from hpo.run.files.artifacts import Artifacts
from hpo.run.link.context import WorkerContext
from hpo.run.link.database_client import DatabaseClient
from hpo.search.optuna.study_search import Search
from hpo.store.db.database import Database
from hpo.store.ledger import workers
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import study_records


def context_at(db: Database, name: str, folder: Path) -> WorkerContext:
    """Registers this process as a worker of a study, with its files in a folder."""
    study = study_records.load(db, name)
    ledger = Ledger(db)
    worker_id = workers.register(db, study.study_id, "cpu")
    client = DatabaseClient(db, ledger, study.study_id, worker_id, (stop := threading.Event()))
    return WorkerContext(
        db=db,
        study=study,
        ledger=ledger,
        search=Search(study.spec, Storage(db)),
        worker_id=worker_id,
        artifacts=Artifacts(folder),
        client=client,
        stop=stop,
    )
