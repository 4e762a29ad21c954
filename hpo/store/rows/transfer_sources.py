"""Transfer sources: the specs of studies to learn from, and what a study has learnt."""

from __future__ import annotations

import sqlalchemy as sa

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.optuna_tables import studies, study_system_attributes
from hpo.store.rows.study_rows import CONFIRMS

_MOST = 200
"""Studies to learn from: the newest ones, more than a warm start uses."""


def specs(db: Database, name: str | None = None) -> list[str]:
    """Returns the specs of studies, as they are stored.

    Those that confirm others are left out: they have few points, each many times.

    Args:
        db: The database.
        name: The one to read; None for the newest of those that are done.
    """
    study, attribute = hpo_study.c, study_system_attributes.c
    confirming = sa.select(attribute.study_id).where(attribute.key == CONFIRMS)
    newest = sa.and_(study.state == "done", study.study_id.not_in(confirming))
    which = newest if name is None else studies.c.study_name == name
    statement = (
        sa.select(study.spec)
        .join(studies, studies.c.study_id == study.study_id)
        .where(which)
        .order_by(study.created_at.desc(), study.study_id.desc())
        .limit(_MOST)
    )
    with db.read() as conn:
        return list(conn.scalars(statement))


def of_study(db: Database, study_id: int) -> str | None:
    """Returns what a study has learnt; None where nothing is stored."""
    statement = sa.select(hpo_study.c.prior).where(hpo_study.c.study_id == study_id)
    with db.read() as conn:
        return conn.execute(statement).scalar_one_or_none()


def keep(db: Database, study_id: int, prior: str) -> str:
    """Stores what a study has learnt, unless something is stored already.

    Returns:
        What is stored now.
    """
    study = hpo_study.c

    def write(conn: sa.Connection) -> str:
        mine = study.study_id == study_id
        unset = sa.update(hpo_study).where(mine, study.prior.is_(None))
        conn.execute(unset.values(prior=prior))
        return conn.execute(sa.select(study.prior).where(mine)).scalar_one_or_none() or prior

    return db.transaction(write)
