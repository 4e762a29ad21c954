"""A server that is read-only, locked, cancelling or away for a while: workers wait it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.spec.study_spec import Budget, StudySpec
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_lease, hpo_study, hpo_worker
from hpo.store.db.opening import open_database
from hpo.store.db.optuna_tables import trials
from hpo.store.studies import studies
from tests.conftest import start_server
from tests.e2e import test_chaos
from tests.kits import chaos as chaos_module
from tests.kits.chaos import Chaos
from tests.kits.servers import MariaDB, Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
LIMIT_S = 200.0
PHASE_S = 1.5
LOCK_S = 1
N_WORKERS = 8


class Host:
    """A server and what its administrator does to a user without special rights."""

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self._engine = server._engine("phases")
        self.url = (
            sa.make_url(url).set(username="lab", password="x").render_as_string(hide_password=False)
        )

    def run(self, *statements: str) -> None:
        with self._engine.connect() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody has all leases locked, for longer than a session waits."""
        with self._engine.connect() as conn:
            conn.exec_driver_sql("BEGIN")
            conn.exec_driver_sql("SELECT * FROM hpo_lease FOR UPDATE")
            yield
            conn.exec_driver_sql("ROLLBACK")

    def restarted(self) -> None:
        self.server.stop()
        time.sleep(0.5)
        self.server.start()

    def phases(self) -> list[Callable[[], None]]:
        return [self.read_only, self.killed, self.lock, self.statement_time, self.restarted]

    def lock(self) -> None:
        with self.locked():
            time.sleep(PHASE_S + LOCK_S)

    def grant(self) -> None:
        raise NotImplementedError

    def read_only(self) -> None:
        raise NotImplementedError

    def killed(self) -> None:
        raise NotImplementedError

    def statement_time(self) -> None:
        raise NotImplementedError


class PostgreSQLHost(Host):
    """As `Host`; what a role is set to is what its sessions begin with and keep."""

    def grant(self) -> None:
        self.run(
            "CREATE ROLE lab LOGIN PASSWORD 'x'",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO lab",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO lab",
        )

    def read_only(self) -> None:
        self._begun_with("default_transaction_read_only = on")

    def statement_time(self) -> None:
        self._begun_with("statement_timeout = '1ms'")

    def killed(self) -> None:
        self._each_session("cancel", PHASE_S)

    def _begun_with(self, setting: str) -> None:
        self.run(f"ALTER ROLE lab SET {setting}")
        self._each_session("terminate", 0.0)
        time.sleep(PHASE_S)
        self.run("ALTER ROLE lab RESET ALL")

    def _each_session(self, verb: str, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        end = f"SELECT pg_{verb}_backend(pid) FROM pg_stat_activity WHERE usename = 'lab'"
        self.run(end)
        while time.monotonic() < ends_at:
            self.run(end)


class MariaDBHost(Host):
    """As `Host`."""

    def grant(self) -> None:
        self.run(
            "CREATE USER 'lab'@'127.0.0.1' IDENTIFIED BY 'x'",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON phases.* TO 'lab'@'127.0.0.1'",
        )

    def read_only(self) -> None:
        self._with_global("read_only", 1)

    def statement_time(self) -> None:
        self.server.cut_connections()
        self._with_global("max_statement_time", 0.0001)

    def killed(self) -> None:
        ends_at = time.monotonic() + PHASE_S
        mine = "SELECT id FROM information_schema.processlist WHERE user = 'lab'"
        with self._engine.connect() as conn:
            while time.monotonic() < ends_at:
                for (number,) in conn.exec_driver_sql(mine).all():
                    with suppress(sa.exc.OperationalError):
                        conn.exec_driver_sql(f"KILL QUERY {number}")

    def _with_global(self, name: str, value: float) -> None:
        self.run(f"SET GLOBAL {name} = {value}")
        time.sleep(PHASE_S)
        self.run(f"SET GLOBAL {name} = 0")


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_rows_are_right_after_phases(
    dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAOS_LOCK_S", str(LOCK_S))
    # Nobody dies here, so nobody shall be taken for dead.
    monkeypatch.setattr(chaos_module, "GRACE_S", 60.0)
    server = start_server(dialect, survives_kill=True)
    try:
        db, study_id, n_trials = _run_through_phases(server, tmp_path)
        monkeypatch.setattr(test_chaos, "N_TRIALS", n_trials)
        test_chaos._assert_trials(db, study_id)
        test_chaos._assert_curves(db, study_id)
        with db.read() as conn:
            assert conn.scalar(sa.select(sa.func.count()).select_from(hpo_worker)) == N_WORKERS
            told = list(conn.execute(sa.select(hpo_event.c.kind, hpo_event.c.message)))
        assert len([kind for kind, _ in told if kind == "outage"]) >= N_WORKERS
        assert [message for kind, message in told if kind == "lost"] == []
        db.dispose()
        log = (tmp_path / "workers.log").read_text()
        # PostgreSQL's sessions are ended first, so that those after them begin read-only.
        read_only = ("is read-only",) if dialect == "mysql" else ("ended the connection",)
        for words in (*read_only, "locked for too long", "cancelled a statement"):
            assert words in log
    finally:
        server.remove()


def _run_through_phases(server: Server, folder: Path) -> tuple[Database, int, int]:
    """Returns the database, the study and how many trials it ended up with."""
    url = server.create_database("phases")
    db = open_database(url, create=True)
    spec = StudySpec(
        name="phases",
        task="digits-mlp",
        metric="val_accuracy",
        direction="maximize",
        budget=Budget(trials=100_000, epochs=test_chaos.N_EPOCHS),
        space={"learning_rate": {"low": 1e-4, "high": 1.0, "log": True}},
        sampler="random",
        pruner="none",
        seed=test_chaos.SEED,
    )
    study, _ = studies.create_or_join(db, spec, None)
    host = (MariaDBHost if isinstance(server, MariaDB) else PostgreSQLHost)(server, url)
    host.grant()
    chaos = Chaos(host.url, "phases", folder, lambda _: "", n_workers=N_WORKERS)
    try:
        for _ in range(N_WORKERS):
            chaos.spawn()
        # Eight of them load PyTorch.
        _until_all_report(db, LIMIT_S)
        for phase in host.phases():
            phase()
            db.drop_sessions()
            _until_all_report(db)
        # As many as there are now, and some more: exactly so many are to be.
        with db.write() as conn:
            n_trials = _count(conn, trials.c.trial_id) + 2 * N_WORKERS
            conn.execute(sa.update(hpo_study).values(n_trials=n_trials))
        chaos.run(test_chaos.SEED, 0.0, LIMIT_S)
    finally:
        chaos.clear()
    assert chaos.bad_ends == []
    assert chaos.n_ended == N_WORKERS
    return db, study.study_id, n_trials


def _until_all_report(db: Database, limit_s: float = 50.0) -> None:
    """Waits until each worker has reported something from now on."""
    with db.read() as conn:
        now = db.now(conn)
    row = hpo_lease.c
    heard = sa.select(row.worker_id).where(row.updated_at > now, row.epoch > 0)
    found: set[int | None] = set()
    deadline = time.monotonic() + limit_s
    while len(found - {None}) < N_WORKERS:
        assert time.monotonic() < deadline, f"only {found}"
        with db.read() as conn:
            found |= set(conn.scalars(heard))
        time.sleep(0.05)


def _count(conn: sa.Connection, column: sa.Column[int]) -> int:
    return int(conn.execute(sa.select(sa.func.count(column))).scalar_one())
