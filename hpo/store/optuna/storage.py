"""Storage: Optuna's storage on its own schema, with few statements and incremental reads.

Every verb is one short transaction. Plain Optuna reads what is written here, and the other way
round. Finished trials are cached (`trial_cache`), with a check that they still are what was cached;
everything else is read when it is asked for.
"""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from hpo.store.db import optuna_tables as schema
from hpo.store.db.optuna_schema import DEFAULT_STUDY_NAME_PREFIX, FrozenStudy
from hpo.store.optuna import guards
from hpo.store.optuna.trial_cache import Changes, Cursor
from hpo.store.optuna.trial_caches import TrialCaches
from hpo.store.optuna.trial_writer import TrialWriter
from hpo.store.optuna.used_distributions import Params
from hpo.store.rows import study_rows, trial_reader, trial_rows
from hpo.store.rows.stored_trial import copy_trial

if TYPE_CHECKING:
    from hpo.store.db.database import Database

_logger = logging.getLogger(__name__)


class Storage(BaseStorage):
    """Optuna's storage over a `Database` whose schema has been checked.

    Threads may share one; a pickled copy opens the same URL with a cache of its own. What a
    method raises is what `BaseStorage` says, and `StorageInternalError`, with the driver's error
    as its cause, when the database fails.

    Args:
        database: Where the studies are.
        known: Ids of studies by earlier names, so that the workers of a renamed study find it.
    """

    def __init__(self, database: Database, known: Mapping[str, int] | None = None) -> None:
        self._database = database
        self._read = partial(guards.read, database)
        self._known = dict(known or {})
        self._writer = TrialWriter(database)
        self._caches = TrialCaches(self._read)

    def __getstate__(self) -> dict[str, Any]:
        return {"database": self._database, "known": self._known}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["database"], state["known"])  # type: ignore[misc]
        # A copy has a `Database` of its own, whose connections are closed with the copy.
        weakref.finalize(self, self._database.dispose)

    # Studies

    @override
    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        name = f"{DEFAULT_STUDY_NAME_PREFIX}{uuid.uuid4()}" if study_name is None else study_name
        try:
            study_id = guards.write(
                self._database, lambda c: study_rows.create(c, name, directions)
            )
        except StorageInternalError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise DuplicatedStudyError(f"a study named {name!r} exists already") from error
            raise
        self._forget(study_id)
        _logger.info("created study %s (study_id %d)", name, study_id)
        return study_id

    @override
    def delete_study(self, study_id: int) -> None:
        existed = guards.write(self._database, lambda c: study_rows.delete(c, study_id))
        self._forget(study_id)
        if not existed:
            raise guards.no_study(study_id)

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._put_study_attr(schema.study_user_attributes, study_id, key, value)

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._put_study_attr(schema.study_system_attributes, study_id, key, value)

    @override
    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name in self._known:
            return self._known[study_name]
        with self._read() as connection:
            study_id = study_rows.id_of(connection, study_name)
        if study_id is None:
            raise KeyError(f"there is no study named {study_name!r}")
        return study_id

    @override
    def get_study_name_from_id(self, study_id: int) -> str:
        with self._read() as connection:
            name = study_rows.name_of(connection, study_id)
        if name is None:
            raise guards.no_study(study_id)
        return name

    @override
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        with self._read() as connection:
            directions = study_rows.directions_of(connection, study_id)
        if not directions:
            raise guards.no_study(study_id)
        return directions

    @override
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attrs(schema.studies, schema.study_user_attributes, study_id)

    @override
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attrs(schema.studies, schema.study_system_attributes, study_id)

    @override
    def get_all_studies(self) -> list[FrozenStudy]:
        with self._read() as connection:
            return study_rows.all_studies(connection)

    # Trials: writing one

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Numbers are consecutive under the lock of the study's row."""
        if template_trial is None:
            return self._writer.create(study_id)
        return self._writer.create_from(study_id, template_trial)

    @override
    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """A parameter that the trial has already is left as it is."""
        self._writer.set_param(trial_id, param_name, param_value_internal, distribution)
        self._caches.touch([trial_id])

    @override
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """WAITING to RUNNING succeeds for one caller only."""
        is_set = self._writer.set_state_values(trial_id, state, values)
        self._caches.touch([trial_id])
        return is_set

    @override
    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        row = trial_rows.intermediate_row(trial_id, step, intermediate_value)
        self._writer.put(trial_rows.INTERMEDIATES, row)
        self._caches.touch([trial_id])

    @override
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._writer.put(trial_rows.USER_ATTRS, trial_rows.attr_row(trial_id, key, value))
        self._caches.touch([trial_id])

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._writer.put(trial_rows.SYSTEM_ATTRS, trial_rows.attr_row(trial_id, key, value))
        self._caches.touch([trial_id])

    # Trials: writing many in one transaction, all or nothing

    def set_params(
        self, items: Sequence[tuple[int, Params]], attrs: Sequence[tuple[int, str, Any]] = ()
    ) -> None:
        """Sets parameters and system attributes of many; see `TrialWriter.set_params`."""
        self._writer.set_params(items, attrs)
        self._caches.touch([*(item[0] for item in items), *(attr[0] for attr in attrs)])

    # Trials: reading

    @override
    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A finished trial is the cached object."""
        with self._read() as connection:
            head = trial_reader.read_head(connection, trial_id)
            if head is None:
                raise guards.no_trial(trial_id)
            cached = self._caches.finished(head)
            return cached or next(trial_reader.read_trials(connection, [head]))

    @override
    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """One statement when nothing is new, two otherwise."""
        trials = self._caches.of(study_id).trials(states)
        return [copy_trial(trial) for trial in trials] if deepcopy else trials

    def changes(self, study_id: int, since: Cursor | None = None) -> Changes:
        """Returns what has changed in a study since another call; do not change the trials."""
        return self._caches.of(study_id).changes(since)

    @override
    def get_n_trials(
        self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None
    ) -> int:
        """Reads no params and values."""
        states = (state,) if isinstance(state, TrialState) else state
        heads = self._caches.of(study_id).heads()
        return sum(states is None or head.state in states for head in heads)

    @override
    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The oldest of equally good ones, found without reading the others."""
        directions = self.get_study_directions(study_id)
        if len(directions) > 1:
            raise RuntimeError("a study with several objectives has no single best trial")
        with self._read() as connection:
            trial_id = study_rows.best_trial_id(connection, study_id, directions[0])
        if trial_id is None:
            raise ValueError("no trials are completed yet")
        return self.get_trial(trial_id)

    @override
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        with self._read() as connection:
            trial_id = study_rows.trial_id_of(connection, study_id, trial_number)
        if trial_id is None:
            raise KeyError(f"study_id {study_id} has no trial with number {trial_number}")
        return trial_id

    @override
    def get_trial_number_from_id(self, trial_id: int) -> int:
        with self._read() as connection:
            head = trial_reader.read_head(connection, trial_id)
        if head is None:
            raise guards.no_trial(trial_id)
        return head.number

    @override
    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        with self._read() as connection:
            value = trial_reader.read_param(connection, trial_id, param_name)
        if value is None:
            raise KeyError(f"trial_id {trial_id} has no parameter {param_name!r}")
        return value

    @override
    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        return self._attrs(schema.trials, schema.trial_user_attributes, trial_id)

    @override
    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self._attrs(schema.trials, schema.trial_system_attributes, trial_id)

    @override
    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        if trial_state.is_finished():
            raise guards.finished_error(self.get_trial_number_from_id(trial_id))

    def _forget(self, study_id: int) -> None:
        self._caches.forget(study_id)
        self._writer.forget(study_id)

    def _put_study_attr(self, table: sa.Table, study_id: int, key: str, value: Any) -> None:
        put = partial(study_rows.put_attr, table=table, study_id=study_id, key=key, value=value)
        if not guards.write(self._database, put):
            raise guards.no_study(study_id)

    def _attrs(self, parent: sa.Table, table: sa.Table, row_id: int) -> dict[str, Any]:
        with self._read() as connection:
            attrs = study_rows.attrs_of(connection, parent, table, row_id)
        if attrs is None:
            raise guards.no_study(row_id) if parent is schema.studies else guards.no_trial(row_id)
        return attrs
