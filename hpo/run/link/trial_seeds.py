"""Trial seeds: what all randomness of a trial's training follows from."""

from __future__ import annotations

from hpo.search.base.derived_seeds import mix
from hpo.store.db.database import Database
from hpo.store.studies import confirmations


def seed_of(db: Database, study_seed: int, study_id: int, number: int) -> int:
    """Returns the seed of a trial: that of its number, or the one that a confirmation gives it.

    Args:
        db: The database.
        study_seed: The seed of the trial's study.
        study_id: The study.
        number: Of the trial, counted within the study from 0.
    """
    given = confirmations.seed_of(db, study_id, number)
    return mix(study_seed, number) if given is None else given
