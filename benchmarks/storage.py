"""How many trials a second the storage writes, against Optuna's own, on each kind of database.

A trial has 5 params and 10 intermediate values. Everybody writes the same rows, each into a
database of their own: Optuna into one that it made with its own settings. The servers are set to
be durable, as they are when nobody changes that: a commit waits for the disk. Rounds of all take
turns, and the median round counts, so that a busy machine harms all alike.

Run it from the checkout: ``python benchmarks/storage.py [sqlite] [postgresql] [mysql]``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

# The servers are those of the tests; a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpo.store import optuna_schema
from hpo.store.database import Database
from hpo.store.storage import Storage
from tests.servers import MariaDB, MissingServer, PostgreSQL

PARAMS = tuple(f"x{i}" for i in range(5))
STEPS = range(10)
UNIT = FloatDistribution(0.0, 1.0)
BATCH = 64
N_BEFORE = 64

Write = Callable[[BaseStorage, int, int], None]


class DurablePostgreSQL(PostgreSQL):
    """The tests' server with PostgreSQL's own defaults for what reaches the disk."""

    def _command(self) -> list[str]:
        names = ("fsync", "full_page_writes", "synchronous_commit")
        return [*super()._command(), *(part for name in names for part in ("-c", f"{name}=on"))]


class DurableMariaDB(MariaDB):
    """The tests' server with MariaDB's own defaults for what reaches the disk."""

    def _command(self) -> list[str]:
        return [
            *super()._command(),
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-flush-method=O_DIRECT",
            "--innodb-doublewrite=ON",
        ]


SERVERS = {"postgresql": DurablePostgreSQL, "mysql": DurableMariaDB}


def row_by_row(storage: BaseStorage, study_id: int, n: int) -> None:
    """Writes `n` trials through Optuna's interface: 17 calls a trial."""
    for _ in range(n):
        trial_id = storage.create_new_trial(study_id)
        for name in PARAMS:
            storage.set_trial_param(trial_id, name, random.random(), UNIT)
        for step in STEPS:
            storage.set_trial_intermediate_value(trial_id, step, random.random())
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [random.random()])


def one_in_four_calls(storage: BaseStorage, study_id: int, n: int) -> None:
    """Writes `n` trials, each with 4 calls: create, params, all reports, finish."""
    assert isinstance(storage, Storage)
    for _ in range(n):
        trial_ids = storage.create_trials(study_id, 1)
        _set_params(storage, trial_ids)
        storage.report([(trial_ids[0], step, random.random()) for step in STEPS])
        storage.finish([(trial_ids[0], TrialState.COMPLETE, [random.random()])])


def one_trial_at_a_time(storage: BaseStorage, study_id: int, n: int) -> None:
    """Writes `n` trials, each with 2 calls: begin it with its params, end it with its reports."""
    for _ in range(n):
        _write_whole(storage, study_id, 1)


def batch_step_by_step(storage: BaseStorage, study_id: int, n: int) -> None:
    """Writes `n` trials, `BATCH` at a time, each step on its own: 13 calls a batch."""
    assert isinstance(storage, Storage)
    for _ in range(0, n, BATCH):
        trial_ids = storage.create_trials(study_id, BATCH)
        _set_params(storage, trial_ids)
        for step in STEPS:
            storage.report([(trial_id, step, random.random()) for trial_id in trial_ids])
        storage.finish([(i, TrialState.COMPLETE, [random.random()]) for i in trial_ids])


def batch(storage: BaseStorage, study_id: int, n: int) -> None:
    """Writes `n` trials, `BATCH` at a time with 2 calls: begin with params, end with reports."""
    for _ in range(0, n, BATCH):
        _write_whole(storage, study_id, BATCH)


def _write_whole(storage: BaseStorage, study_id: int, n: int) -> None:
    assert isinstance(storage, Storage)
    params = [{name: (random.random(), UNIT) for name in PARAMS} for _ in range(n)]
    trial_ids = storage.begin_trials(study_id, params)
    reports = [(i, step, random.random()) for i in trial_ids for step in STEPS]
    storage.finish([(i, TrialState.COMPLETE, [random.random()]) for i in trial_ids], reports)


def _set_params(storage: Storage, trial_ids: Sequence[int]) -> None:
    storage.set_params([(i, {name: (random.random(), UNIT) for name in PARAMS}) for i in trial_ids])


@dataclass
class Contender:
    """Somebody who writes trials, and what that took.

    Attributes:
        name: As the table shows it.
        write: Writes n trials of a study.
        n_trials: Of each round.
        storage: Where it writes.
        engine: Whose statements and commits are counted.
        study_id: The study that it writes to.
        rates: Trials per second, one a round.
    """

    name: str
    write: Write
    n_trials: int
    storage: BaseStorage
    engine: sa.Engine
    study_id: int
    rates: list[float] = field(default_factory=list)
    n_statements: int = 0
    n_transactions: int = 0

    def __post_init__(self) -> None:
        sa.event.listen(self.engine, "before_cursor_execute", self._count_statement)
        sa.event.listen(self.engine, "commit", self._count_transaction)

    def run(self) -> None:
        """Writes one round."""
        started = time.perf_counter()
        self.write(self.storage, self.study_id, self.n_trials)
        self.rates.append(self.n_trials / (time.perf_counter() - started))

    def per_trial(self, count: int) -> float:
        """Returns a count of all rounds for each trial."""
        return count / (self.n_trials * len(self.rates))

    def _count_statement(self, _c: object, _k: object, statement: str, *_: object) -> None:
        # SQLite's BEGIN passes here, that of the servers does not: counted for nobody.
        self.n_statements += not statement.startswith("BEGIN")

    def _count_transaction(self, _connection: object) -> None:
        self.n_transactions += 1


def contenders(new_url: Callable[[], str]) -> Iterator[Contender]:
    """Yields all, Optuna first, each with a study that holds some `N_BEFORE` trials."""
    ways: tuple[tuple[str, Write, int], ...] = (
        ("optuna, row by row", row_by_row, 16),
        ("hpo, row by row", row_by_row, 32),
        ("hpo, one trial, 4 calls", one_in_four_calls, 64),
        ("hpo, one trial at a time", one_trial_at_a_time, 64),
        (f"hpo, {BATCH} trials, step by step", batch_step_by_step, 10 * BATCH),
        (f"hpo, {BATCH} trials at a time", batch, 10 * BATCH),
    )
    for name, write, n_trials in ways:
        database = Database(new_url())
        storage: BaseStorage
        if name.startswith("optuna"):
            storage = RDBStorage(database.url)
            engine = storage.engine
        else:
            optuna_schema.create_all_and_stamp(database.engine)
            storage = Storage(database)
            engine = database.engine
        study_id = storage.create_new_study([StudyDirection.MINIMIZE], "benchmark")
        row_by_row(storage, study_id, N_BEFORE)
        write(storage, study_id, 1)
        yield Contender(name, write, n_trials, storage, engine, study_id)


@contextmanager
def urls_of(kind: str, folder: Path) -> Iterator[Callable[[], str]]:
    """Gives a function that returns the URL of one more empty database of this kind."""
    if kind == "sqlite":
        yield lambda: f"sqlite:///{folder / f'{random.getrandbits(32):x}.db'}"
        return
    server = SERVERS[kind]()
    try:
        yield lambda: server.create_database(f"b{random.getrandbits(32):x}")
    finally:
        server.remove()


def add_rows(table: Table, kind: str, measured: Sequence[Contender]) -> None:
    """Adds one line for each, the first being the mark."""
    mark = statistics.median(measured[0].rates)
    for contender in measured:
        rate = statistics.median(contender.rates)
        table.add_row(
            kind,
            contender.name,
            f"{rate:.1f}",
            f"{rate / mark:.1f}",
            f"{contender.per_trial(contender.n_statements):.2f}",
            f"{contender.per_trial(contender.n_transactions):.2f}",
        )
    table.add_section()


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=["sqlite", *SERVERS])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("database", "storage", "trials/s", "ratio", "statements", "transactions")
    for kind in options.kinds:
        try:
            with tempfile.TemporaryDirectory() as folder, urls_of(kind, Path(folder)) as new_url:
                measured = list(contenders(new_url))
                for _ in range(options.rounds):
                    for contender in measured:
                        contender.run()
                for contender in measured:
                    contender.engine.dispose()
        except MissingServer as error:
            table.add_row(kind, str(error))
            continue
        add_rows(table, kind, measured)
    table.caption = f"optuna {optuna.__version__}; statements and transactions are per trial"
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
