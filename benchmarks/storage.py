"""How many trials a second hpo's workers put through a database, beside Optuna's own storage.

A trial has 5 params and 10 epochs, each reported by itself when it ends. Nothing trains, draws or
prunes anything: the time is that of the database layer. Optuna makes its trials by its own API:
ask, suggest, report, tell. hpo's are made as its workers make them: a claim, params by the search,
a report of all lanes for each epoch, a settlement by the line. An objective that ``hpo run
--objective`` runs is a third way: claimed and settled by hpo, its params and reports written by
``optuna.Trial``.

Each has a database of its own. The servers are set to be durable, as they are when nothing changes
that: a commit waits for the disk. Rounds of all take turns, and the median round counts, so that a
busy machine harms all alike.

Run it from the checkout: ``python benchmarks/storage.py [sqlite] [postgresql] [mysql]``.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

import optuna
import sqlalchemy as sa
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState

# The servers are those of the tests; a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpo.run.trials.objective_executor import ObjectiveExecutor
from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db import optuna_tables
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.ledger.leases import EpochRow, Lease, Outcome
from hpo.store.studies import studies
from tests.kits.contexts import context_at
from tests.kits.servers import MariaDB, MissingServer, PostgreSQL

PARAMS = tuple(f"x{i}" for i in range(5))
EPOCHS = range(1, 11)
LANES = 64
N_BEFORE = 64
METRIC = "val_loss"
N_ROWS = {"trials": 1, "trial_params": len(PARAMS), "trial_values": 1}
N_ROWS |= {"trial_intermediate_values": len(EPOCHS)}
"""Rows that each trial must leave in Optuna's tables, by either writer."""


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
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}


def objective(trial: optuna.Trial) -> float:
    """Suggests and reports, and computes nothing."""
    for name in PARAMS:
        trial.suggest_float(name, 0.0, 1.0)
    for epoch in EPOCHS:
        trial.report(random.random(), epoch)
    return random.random()


class Writer(Protocol):
    """Puts whole trials into a database.

    Attributes:
        engine: Whose statements and commits are counted.
    """

    engine: sa.Engine

    def write(self, n: int) -> None:
        """Writes ``n`` trials, from the first statement to the last."""


class OptunaWriter:
    """Optuna, in a database that it made with its own settings."""

    def __init__(self, url: str) -> None:
        self._storage = RDBStorage(Database(url).url)
        self.engine = self._storage.engine
        # The sampler that looks at no history: what others compute is not the storage's.
        self._study = optuna.create_study(storage=self._storage, sampler=RandomSampler())

    def write(self, n: int) -> None:
        """See ``Writer``."""
        for _ in range(n):
            trial = self._study.ask()
            self._study.tell(trial, objective(trial))


class LanesWriter:
    """A worker of hpo that holds ``lanes`` trials at a time.

    Args:
        url: An empty database.
        lanes: How many trials are claimed, reported and settled together.
        together: Write the epochs of a trial with one report, as workers do with those that
            are shorter than a quarter of a second; else each when it ends.
    """

    def __init__(self, url: str, lanes: int, *, together: bool = False) -> None:
        db = open_database(url, create=True)
        studies.create_or_join(db, _spec(task="digits-mlp"), None)
        self.engine = db.engine
        self._context = context_at(db, "benchmark", Path(os.devnull))
        self._lanes, self._together = lanes, together

    def write(self, n: int) -> None:
        """See ``Writer``."""
        for first in range(0, n, self._lanes):
            self._write_together(min(self._lanes, n - first))

    def _write_together(self, n: int) -> None:
        context = self._context
        claim = context.ledger.claim(context.study.study_id, context.worker_id, n)
        leases = claim.leases
        assert len(leases) == n, claim
        context.search.give({x.trial_id: {p: random.random() for p in PARAMS} for x in leases})
        epochs = [_epochs(leases, epoch) for epoch in EPOCHS]
        for rows in [list(chain(*epochs))] if self._together else epochs:
            assert not context.client.report(rows)
        outcomes = [_outcome(lease) for lease in leases]
        noted = [(o.trial_id, TrialState.COMPLETE, o.values) for o in outcomes]
        context.client.try_call(lambda: context.search.before_finish(noted), None)
        assert not context.client.settle(outcomes)


class ObjectiveWriter:
    """A worker of hpo that runs an Optuna objective."""

    def __init__(self, url: str) -> None:
        db = open_database(url, create=True)
        studies.create_or_join(db, _spec(objective="benchmark.py:objective"), None)
        self.engine = db.engine
        self._executor = ObjectiveExecutor(context_at(db, "benchmark", Path(os.devnull)), objective)

    def write(self, n: int) -> None:
        """See ``Writer``."""
        for _ in range(n):
            self._executor.begin(self._executor.claim().leases)
            self._executor.work()


def _spec(**what: str) -> StudySpec:
    return StudySpec(
        name="benchmark",
        metric=METRIC,
        direction="minimize",
        sampler="random",
        pruner="none",
        space={name: {"low": 0.0, "high": 1.0} for name in PARAMS},
        budget=Budget(trials=1_000_000, epochs=len(EPOCHS)),
        **what,
    )


def _epochs(leases: Sequence[Lease], epoch: int) -> list[EpochRow]:
    return [
        EpochRow(
            trial_id=lease.trial_id,
            token=lease.token,
            epoch=epoch,
            metrics={METRIC: (loss := random.random()), "train_loss": random.random()},
            objective=loss,
            learning_rate=0.1,
            seconds=1.0,
            samples_per_s=1000.0,
        )
        for lease in leases
    ]


def _outcome(lease: Lease) -> Outcome:
    return Outcome(
        trial_id=lease.trial_id,
        token=lease.token,
        state="complete",
        values=(random.random(),),
        user_attrs={"test_loss": random.random(), "best_epoch": len(EPOCHS)},
        epoch=len(EPOCHS),
    )


@dataclass
class Contender:
    """A writer of trials, and the cost of its writes.

    Attributes:
        name: As the table shows it.
        writer: Writes trials.
        n_trials: Of each round.
        n_before: Trials that the study holds already.
        rates: Trials per second, one a round.
        processor_s: Seconds of this process's processor, one a round.
    """

    name: str
    writer: Writer
    n_trials: int
    n_before: int
    rates: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    n_statements: int = 0
    n_transactions: int = 0

    def __post_init__(self) -> None:
        self.writer.write(self.n_before)
        engine = self.writer.engine
        sa.event.listen(engine, "before_cursor_execute", self._count_statement)
        sa.event.listen(engine, "commit", self._count_transaction)

    def run(self) -> None:
        """Writes one round."""
        started, processor_s = time.perf_counter(), time.process_time()
        self.writer.write(self.n_trials)
        self.processor_s.append(time.process_time() - processor_s)
        self.rates.append(self.n_trials / (time.perf_counter() - started))

    @property
    def rate(self) -> float:
        """Trials per second in the median round."""
        return statistics.median(self.rates)

    @property
    def processor_ms(self) -> float:
        """Milliseconds of this process's processor for a trial, in the median round."""
        return 1000 * statistics.median(self.processor_s) / self.n_trials

    def per_trial(self, count: int) -> float:
        """Returns a count of all rounds for each trial."""
        return count / (self.n_trials * len(self.rates))

    def check(self) -> None:
        """Makes sure that every trial is there, with its rows in Optuna's tables."""
        n_trials = self.n_before + self.n_trials * len(self.rates)
        with self.writer.engine.connect() as conn:
            for name, n_each in N_ROWS.items():
                table = optuna_tables.metadata.tables[name]
                found = conn.scalar(sa.select(sa.func.count()).select_from(table))
                assert found == n_each * n_trials, (self.name, name, found, n_trials)

    def _count_statement(self, _c: object, _k: object, statement: str, *_: object) -> None:
        # SQLite's BEGIN passes here, that of the servers does not: not counted.
        self.n_statements += not statement.startswith("BEGIN")

    def _count_transaction(self, _connection: object) -> None:
        self.n_transactions += 1


def contenders(new_url: Callable[[], str], scale: float) -> Iterator[Contender]:
    """Yields all, Optuna first, each with a study that holds `N_BEFORE` trials."""
    ways: tuple[tuple[str, Callable[[str], Writer], int], ...] = (
        ("Optuna", OptunaWriter, 16),
        ("hpo, an Optuna objective", ObjectiveWriter, 32),
        ("hpo, 1 trial at a time", lambda url: LanesWriter(url, 1), 64),
        (f"hpo, {LANES} lanes", lambda url: LanesWriter(url, LANES), 5 * LANES),
        ("hpo, 1 trial, short epochs", lambda url: LanesWriter(url, 1, together=True), 32),
        (
            f"hpo, {LANES} lanes, short epochs",
            lambda url: LanesWriter(url, LANES, together=True),
            5 * LANES,
        ),
    )
    for name, make, n_trials in ways:
        yield Contender(
            name, make(new_url()), *(math.ceil(scale * n) for n in (n_trials, N_BEFORE))
        )


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


def measure(kind: str, n_rounds: int, scale: float) -> list[Contender]:
    """Returns everybody's rounds on one kind of database.

    Raises:
        MissingServer: The server is not installed.
    """
    with tempfile.TemporaryDirectory() as folder, urls_of(kind, Path(folder)) as new_url:
        measured = list(contenders(new_url, scale))
        for _ in range(n_rounds):
            for contender in measured:
                contender.run()
        for contender in measured:
            contender.check()
            contender.writer.engine.dispose()
    return measured


def header() -> str:
    """Returns the head of the table, as Markdown."""
    columns = ("database", "storage", "trials/s", "ratio", "processor ms", "ratio")
    return f"{_row(*columns, 'statements', 'commits')}\n| --- | --- |{' ---: |' * 6}"


def rows_of(kind: str, measured: Sequence[Contender]) -> str:
    """Returns the results on a database as rows of the table, the first being the mark."""
    mark = measured[0]
    return "\n".join(
        _row(
            NAMES[kind],
            one.name,
            f"{one.rate:,.1f}",
            f"{one.rate / mark.rate:.1f}",
            f"{one.processor_ms:.2f}",
            f"{mark.processor_ms / one.processor_ms:.1f}",
            f"{one.per_trial(one.n_statements):.2f}",
            f"{one.per_trial(one.n_transactions):.2f}",
        )
        for one in measured
    )


def summary_of(measured: dict[str, list[Contender]]) -> str:
    """Returns the short table of docs/benchmarks.md, as Markdown."""
    lines = [_row("trials a second", *(NAMES[kind] for kind in measured))]
    lines.append("| --- |" + " ---: |" * len(measured))
    for i, first in enumerate(next(iter(measured.values()))[:4]):
        cells = []
        for found in measured.values():
            times = f" ({found[i].rate / found[0].rate:.1f}x)" if i else ""
            cells.append(f"{found[i].rate:,.0f}{times}")
        lines.append(_row(first.name, *cells))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of trials")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    measured = {}
    _say(header())
    for kind in options.kinds:
        try:
            measured[kind] = measure(kind, options.rounds, options.scale)
        except MissingServer as error:
            sys.stderr.write(f"{NAMES[kind]}: {error}\n")
        else:
            _say(rows_of(kind, measured[kind]))
    if not measured:
        sys.exit(1)
    versions = f"optuna {optuna.__version__}, Python {sys.version.split()[0]}"
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    _say(f"\n{summary_of(measured)}\n\n{versions}, {cores}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
