"""Trial writer: creates and changes trials by Optuna's rules, one transaction a verb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from hpo.store.db import optuna_tables as schema
from hpo.store.optuna import guards
from hpo.store.optuna.used_distributions import Params, UsedDistributions
from hpo.store.rows import trial_reader, trial_rows
from hpo.store.rows.upserts import OPEN_STATES, UpsertTarget

if TYPE_CHECKING:
    from hpo.store.db.database import Database


class TrialWriter:
    """Writes trials; several threads may share one.

    Args:
        database: Where the studies are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._distributions = UsedDistributions()

    def forget(self, study_id: int) -> None:
        """Forgets the distributions of a study that was deleted or has just been created."""
        self._distributions.forget(study_id)

    def create(self, study_id: int) -> int:
        """Adds a RUNNING trial with the next number and returns its id.

        Raises:
            KeyError: There is no such study.
        """

        def add(connection: sa.Connection) -> int:
            guards.lock_study(connection, study_id)
            started_at = schema.utc_now()
            ((trial_id, _),) = trial_rows.add_trials(connection, study_id, 1, started_at=started_at)
            return trial_id

        trial_id = guards.write(self._database, add)
        self._distributions.remember({trial_id: study_id})
        return trial_id

    def create_from(self, study_id: int, template: FrozenTrial) -> int:
        """Adds a copy of `template`, with a number and an id of its own.

        Raises:
            KeyError: There is no such study.
            ValueError: A distribution is incompatible with the one that the study uses.
        """
        params = {
            name: (distribution.to_internal_repr(template.params[name]), distribution)
            for name, distribution in template.distributions.items()
        }

        def add(connection: sa.Connection) -> int:
            guards.lock_study(connection, study_id)
            self._distributions.check(connection, {-1: study_id}, [(-1, params)])
            ((trial_id, _),) = trial_rows.add_trials(
                connection,
                study_id,
                1,
                state=template.state,
                started_at=schema.local_to_utc(template.datetime_start),
                completed_at=schema.local_to_utc(template.datetime_complete),
            )
            for target, rows in _template_rows(trial_id, template, params):
                trial_rows.write_rows(connection, target, rows)
            return trial_id

        trial_id = guards.write(self._database, add)
        self._distributions.remember({trial_id: study_id}, [(trial_id, params)])
        return trial_id

    def set_param(
        self, trial_id: int, name: str, value: float, distribution: BaseDistribution
    ) -> None:
        """Sets one parameter; one that is set already stays.

        Raises:
            KeyError: There is no such trial.
            UpdateFinishedTrialError: The trial is finished.
            ValueError: The distribution does not go with the one that the study uses.
        """
        item = trial_id, {name: (value, distribution)}
        if self._distributions.all_known([item]):
            self.put(trial_rows.PARAMS, _param_rows([item])[0])
        else:
            self.set_params([item])

    def put(self, target: UpsertTarget, row: Mapping[str, Any]) -> None:
        """Writes one row of a child table of `trials`, with one statement.

        Raises:
            KeyError: There is no such trial.
            UpdateFinishedTrialError: The trial is finished.
        """

        def put(connection: sa.Connection) -> None:
            if not trial_rows.write_fenced(connection, target, row):
                guards.require_open(
                    row["trial_id"], trial_reader.read_head(connection, row["trial_id"])
                )

        guards.write(self._database, put, single=True)

    def set_params(
        self, items: Sequence[tuple[int, Params]], attrs: Sequence[tuple[int, str, Any]] = ()
    ) -> None:
        """Sets parameters of many trials; those that are set already stay.

        Args:
            items: (trial_id, params) of each.
            attrs: (trial_id, key, value) of system attributes to set besides.

        Raises:
            KeyError: There is no such trial.
            UpdateFinishedTrialError: One of the trials is finished.
            ValueError: A distribution is incompatible with the one that the study uses.
        """
        rows = _param_rows(items)
        notes = [trial_rows.attr_row(*attr) for attr in attrs]
        known = self._distributions.all_known(items)

        def put(connection: sa.Connection) -> dict[int, int]:
            if not trial_rows.write_rows_fenced(connection, trial_rows.SYSTEM_ATTRS, notes):
                guards.lock_open(connection, [trial_id for trial_id, _, _ in attrs])
            if known and trial_rows.write_rows_fenced(connection, trial_rows.PARAMS, rows):
                return {}
            heads = guards.lock_open(connection, [trial_id for trial_id, _ in items])
            study_of = {trial_id: head.study_id for trial_id, head in heads.items()}
            self._distributions.check(connection, study_of, items)
            trial_rows.write_rows(connection, trial_rows.PARAMS, rows)
            return study_of

        study_of = guards.write(self._database, put)
        if study_of:
            self._distributions.remember(study_of, items)

    def set_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None
    ) -> bool:
        """Sets a trial's values and state; WAITING to RUNNING succeeds for one caller only.

        Returns:
            False when the trial was to become RUNNING and is RUNNING already.

        Raises:
            KeyError: There is no such trial.
            UpdateFinishedTrialError: The trial is finished.
        """
        to_running = state is TrialState.RUNNING
        only_from = (TrialState.WAITING,) if to_running else OPEN_STATES
        rows = trial_rows.value_rows(trial_id, values or ())

        def change(connection: sa.Connection) -> bool:
            now = schema.utc_now()
            changed = trial_rows.change_state(
                connection, [trial_id], state, now, only_from=only_from
            )
            if not changed:
                guards.require_open(trial_id, trial_reader.read_head(connection, trial_id))
            trial_rows.write_rows(connection, trial_rows.VALUES, rows)
            return bool(changed) or not to_running

        return guards.write(self._database, change)


def _param_rows(items: Iterable[tuple[int, Params]]) -> list[dict[str, Any]]:
    # Trials that were drawn together share their distributions: each is written as JSON once.
    texts: dict[int, str] = {}
    rows = []
    for trial_id, params in items:
        for name, (value, distribution) in params.items():
            text = texts.get(id(distribution)) or distribution_to_json(distribution)
            texts[id(distribution)] = text
            rows.append(trial_rows.param_row(trial_id, name, value, text))
    return rows


def _template_rows(
    trial_id: int, template: FrozenTrial, params: Params
) -> Iterable[tuple[UpsertTarget, list[dict[str, Any]]]]:
    yield trial_rows.PARAMS, _param_rows([(trial_id, params)])
    yield trial_rows.VALUES, trial_rows.value_rows(trial_id, template.values or ())
    for target, attrs in (
        (trial_rows.USER_ATTRS, template.user_attrs),
        (trial_rows.SYSTEM_ATTRS, template.system_attrs),
    ):
        yield target, [trial_rows.attr_row(trial_id, key, attrs[key]) for key in attrs]
    steps = template.intermediate_values.items()
    yield (
        trial_rows.INTERMEDIATES,
        [trial_rows.intermediate_row(trial_id, step, value) for step, value in steps],
    )
