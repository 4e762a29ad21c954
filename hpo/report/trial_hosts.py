"""Trial hosts: the machines that have trained a trial, where its files may be."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import SpecError
from hpo.report.study_queries import Subject
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_lease, hpo_worker
from hpo.store.db.optuna_tables import name_of, trials
from hpo.store.studies.trial_states import FINISHED


@dataclass(frozen=True)
class TrialHosts:
    """Where a trial was trained, as far as the database knows.

    Attributes:
        number: Number of the trial.
        state: Optuna's state.
        hosts: Names of machines: those of the trial, or of the whole study if its own are unknown.
    """

    number: int
    state: str
    hosts: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether it is trained no more."""
        return self.state in FINISHED

    @property
    def is_elsewhere(self) -> bool:
        """Whether it was trained, and not on this machine."""
        return bool(self.hosts) and socket.gethostname() not in self.hosts


def find_hosts(db: Database, subject: Subject, number: int) -> TrialHosts:
    """Finds the machines of a trial.

    Raises:
        SpecError: The study has no trial with this number.
    """
    with db.read() as conn:
        query = sa.select(trials.c.number, trials.c.trial_id, name_of(trials.c.state))
        query = query.where(trials.c.study_id == subject.study_id)
        row = conn.execute(query.where(trials.c.number == number)).first()
        if row is None:
            count = sa.select(sa.func.count()).where(trials.c.study_id == subject.study_id)
            n = conn.execute(count).scalar_one()
            known = f"its trials are 0 to {n - 1}" if n > 1 else f"it has {n or 'no'} trial"
            raise SpecError(f"{subject.name} has no trial {number}; {known}{'s' * (n == 0)}")
        return TrialHosts(number, row[2], _hosts(conn, subject.study_id, row[1]))


def _hosts(conn: Connection, study_id: int, trial_id: int) -> tuple[str, ...]:
    ids = [
        sa.select(table.c.worker_id).where(table.c.trial_id == trial_id)
        for table in (hpo_lease, hpo_event)
    ]
    column = hpo_worker.c
    own = column.worker_id.in_(sa.union(*ids))
    for condition in (own, column.study_id == study_id):
        query = sa.select(column.host).where(condition).distinct().order_by(column.host)
        found = tuple(conn.scalars(query))
        if found:
            return found
    return ()
