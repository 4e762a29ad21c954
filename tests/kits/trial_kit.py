"""Many trials at once, as rows: what tests of the storage find in the database."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import TrialState

from hpo.store.db import optuna_tables
from hpo.store.optuna.storage import Storage
from hpo.store.rows import trial_rows


def create_trials(storage: Storage, study_id: int, n: int) -> list[int]:
    """Adds RUNNING trials and returns their ids."""
    with storage._database.write() as conn:
        assert trial_rows.lock_study(conn, study_id)
        now = optuna_tables.utc_now()
        added = trial_rows.add_trials(conn, study_id, n, started_at=now)
    return [trial_id for trial_id, _ in added]


def report(storage: Storage, rows: Sequence[tuple[int, int, float]]) -> None:
    """Sets intermediate values: (trial_id, step, value) of each."""
    values = [trial_rows.intermediate_row(*row) for row in rows]
    with storage._database.write() as conn:
        trial_rows.write_rows(conn, trial_rows.INTERMEDIATES, values)


def finish(
    storage: Storage, items: Sequence[tuple[int, TrialState, Sequence[float] | None]]
) -> None:
    """Finishes trials: (trial_id, final state, values or None) of each."""
    values = [row for i, _, given in items for row in trial_rows.value_rows(i, given or ())]
    with storage._database.write() as conn:
        now = optuna_tables.utc_now()
        for state in {state for _, state, _ in items}:
            ids = [trial_id for trial_id, of_it, _ in items if of_it is state]
            assert trial_rows.change_state(conn, ids, state, now) == len(ids)
        trial_rows.write_rows(conn, trial_rows.VALUES, values)
