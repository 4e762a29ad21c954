"""Partial copy: a copy of a study that is not complete yet, under a name of its own and fenced.

Its mark holds a token of the process that works on it. Each of the process's transactions locks the
study and checks the token. When another process continues the copy, the first one gets an error and
writes nothing more.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from hpo.errors import StoreError
from hpo.store.db import optuna_tables as schema
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.rows import stored_specs, study_rows
from hpo.store.rows.trial_rows import lock_study
from hpo.store.studies import copy_rows
from hpo.store.studies.copy_rows import HEADS, MARKER, OF_STUDY, OF_TRIAL, SUGGESTIONS, Row, Side

T = TypeVar("T")

_SUFFIX = " (being copied)"


def working_name(name: str) -> str:
    """Returns the name of a study's copy until it is complete."""
    longest = schema.MAX_NAME_LENGTH - len(_SUFFIX)
    if len(name) > longest:
        checksum = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[: longest - 17]} {checksum}"
    return name + _SUFFIX


def study_row(side: Side, name: str, new_name: str) -> dict[str, Any] | None:
    """Returns the row of `hpo_study` that the copy gets; None where the study has none."""
    if not side.has_ours:
        return None
    query = sa.select(*copy_rows.STUDY.columns).where(hpo_study.c.study_id == side.study_id)
    found = side.conn.execute(query).mappings().one_or_none()
    if found is None:
        return None
    row = dict(found)
    if name != new_name:
        # Only for a new name: otherwise the text of the spec stays the same.
        from hpo.spec import toml

        spec = stored_specs.read(row["spec"], name).model_copy(update={"name": new_name})
        spec = toml.loads(toml.dumps(spec), f"study {new_name}")
        row |= {"spec": toml.dumps(spec), "digest": spec.digest}
    return row


class PartialCopy:
    """A copy of a study, as the process that works on it sees it.

    Args:
        database: The database of the copy.
        name: Its name once it is complete.
        study_id: Its id.
        token: The token of this process.
    """

    def __init__(self, database: Database, name: str, study_id: int, token: str) -> None:
        self._database = database
        self._name = name
        self._token = token
        self.study_id = study_id
        self._ids, self._unfinished = self._copied_trials()

    @classmethod
    def take(
        cls, database: Database, name: str, source: Side, *, restart: bool = False
    ) -> PartialCopy:
        """Starts a copy, or takes over an existing one.

        Args:
            database: The database of the copy.
            name: Its name once it is complete.
            source: The study.
            restart: Delete an existing copy first.

        Raises:
            StoreError: The existing copy is of another study.
        """
        token, origin = uuid.uuid4().hex, _origin(source)
        directions = study_rows.directions_of(source.conn, source.study_id)

        def work(conn: sa.Connection) -> int:
            study_id = study_rows.id_of(conn, working_name(name))
            if study_id is not None and restart:
                study_rows.delete(conn, study_id)
                study_id = None
            if study_id is None:
                study_id = study_rows.create(conn, working_name(name), directions)
            elif _mark_of(conn, study_id).get("origin") != origin:
                raise StoreError(
                    f"{database.masked_url} holds part of a copy of another study called {name}",
                    hint="--restart deletes that part and starts again",
                )
            mark = {"origin": origin, "token": token}
            study_rows.put_attr(conn, schema.study_system_attributes, study_id, MARKER, mark)
            return study_id

        study_id = _run(database, name, work)
        return cls(database, name, study_id, token)

    def missing(self, batch: dict[int, int]) -> dict[int, int]:
        """Returns the trials of a batch, trial_id -> number, that are not copied for good."""
        return {
            trial_id: number
            for trial_id, number in batch.items()
            if number not in self._ids or number in self._unfinished
        }

    def write_trials(self, source: Side, batch: dict[int, int]) -> None:
        """Copies trials with their child rows, in one transaction."""
        heads = copy_rows.heads(source, batch)
        children = [(kind, copy_rows.of_trials(source, kind, batch)) for kind in OF_TRIAL]

        def work(conn: sa.Connection) -> dict[int, int]:
            ids = self._write_heads(conn, heads)
            for kind, rows in children:
                own = [{"trial_id": ids[row[0]]} for row in rows]
                if "study_id" in kind.table.c:
                    own = [{**entry, "study_id": self.study_id} for entry in own]
                copy_rows.insert(conn, kind, rows, own)
            return ids

        self._ids |= self._run_fenced(work)

    def write_rest(self, source: Side) -> None:
        """Copies the study's own rows: attributes, workers, events, decision log."""
        of_study = [(kind, copy_rows.of_study(source, kind)) for kind in OF_STUDY]
        workers = copy_rows.workers(source)

        def begin(conn: sa.Connection) -> None:
            for kind in (*OF_STUDY, copy_rows.WORKERS, copy_rows.EVENTS, SUGGESTIONS):
                which = kind.table.c.study_id == self.study_id
                if kind.table is schema.study_system_attributes:
                    which &= kind.table.c.key != MARKER
                conn.execute(sa.delete(kind.table).where(which))
            for kind, rows in (*of_study, (copy_rows.WORKERS, workers)):
                copy_rows.insert(conn, kind, rows, [{"study_id": self.study_id}] * len(rows))

        self._run_fenced(begin)
        for rows in copy_rows.events(source):
            self._run_fenced(partial(self._write_events, rows))
        for rows in copy_rows.suggestions(source):
            self._run_fenced(partial(self._write_suggestions, rows))

    def publish(self, row: dict[str, Any] | None) -> None:
        """Gives the copy its name and its row of `hpo_study`, and removes the mark.

        Raises:
            StoreError: A study of this name was created meanwhile.
        """
        attrs = schema.study_system_attributes

        def work(conn: sa.Connection) -> None:
            if row is not None:
                conn.execute(sa.insert(hpo_study), {**row, "study_id": self.study_id})
            conn.execute(
                sa.delete(attrs).where(attrs.c.study_id == self.study_id, attrs.c.key == MARKER)
            )
            conn.execute(
                sa.update(schema.studies)
                .where(schema.studies.c.study_id == self.study_id)
                .values(study_name=self._name)
            )

        self._run_fenced(work)

    def _copied_trials(self) -> tuple[dict[int, int], set[int]]:
        """Returns the copied trials, number -> trial_id, and the unfinished ones of them."""
        t = schema.trials.c
        query = sa.select(t.number, t.trial_id, t.state).where(t.study_id == self.study_id)
        with self._database.read() as conn:
            found = conn.execute(query).all()
        unfinished = {number for number, _, state in found if not state.is_finished()}
        return {number: trial_id for number, trial_id, _ in found}, unfinished

    def _write_heads(self, conn: sa.Connection, heads: list[Row]) -> dict[int, int]:
        """Writes rows of `trials` and returns their ids by number."""
        t = schema.trials.c
        again = {row[0]: self._ids[row[0]] for row in heads if row[0] in self._ids}
        if again:
            _rewrite(conn, [row for row in heads if row[0] in again], again)
        of_study = t.study_id == self.study_id
        newest = sa.select(t.trial_id).where(of_study).order_by(t.trial_id.desc()).limit(1)
        last = conn.execute(newest).scalar_one_or_none() or 0
        new = [row for row in heads if row[0] not in again]
        copy_rows.insert(conn, HEADS, new, [{"study_id": self.study_id}] * len(new))
        added = conn.execute(sa.select(t.number, t.trial_id).where(of_study, t.trial_id > last))
        return {**again, **{row[0]: row[1] for row in added}}

    def _write_events(self, rows: list[Row], conn: sa.Connection) -> None:
        workers = copy_rows.worker_ids(Side(conn, self.study_id, has_ours=True))
        own = [
            {
                "study_id": self.study_id,
                "trial_id": None if number is None else self._ids[number],
                "worker_id": None if position is None else workers[position],
            }
            for number, position, *_ in rows
        ]
        copy_rows.insert(conn, copy_rows.EVENTS, rows, own)

    def _write_suggestions(self, rows: list[Row], conn: sa.Connection) -> None:
        workers = copy_rows.worker_ids(Side(conn, self.study_id, has_ours=True))
        own = [
            {
                "study_id": self.study_id,
                "worker_id": None if position is None else workers[position],
            }
            for position, *_ in rows
        ]
        copy_rows.insert(conn, SUGGESTIONS, rows, own)

    def _run_fenced(self, work: Callable[[sa.Connection], T]) -> T:
        def fenced(conn: sa.Connection) -> T:
            lock_study(conn, self.study_id)
            if _mark_of(conn, self.study_id).get("token") != self._token:
                raise StoreError(f"another process has taken over this copy of {self._name}")
            return work(conn)

        return _run(self._database, self._name, fenced)


def _rewrite(conn: sa.Connection, heads: list[Row], ids: Mapping[int, int]) -> None:
    """Overwrites copied trials, and deletes their child rows."""
    trials, names = HEADS.table, HEADS.names
    for kind in OF_TRIAL:
        conn.execute(sa.delete(kind.table).where(kind.table.c.trial_id.in_(ids.values())))
    # The rows themselves stay: in every study, ids grow with the numbers.
    change = sa.update(trials).where(trials.c.trial_id == sa.bindparam("id_"))
    conn.execute(
        change.values({name: sa.bindparam(f"new_{name}") for name in names}),
        [
            {f"new_{name}": value for name, value in zip(names, row[1:], strict=True)}
            | {"id_": ids[row[0]]}
            for row in heads
        ],
    )


def _run(database: Database, name: str, work: Callable[[sa.Connection], T]) -> T:
    try:
        return database.transaction(work)
    except (sa.exc.IntegrityError, sa.exc.DataError) as error:
        raise StoreError(
            f"{database.masked_url} does not take the rows of {name}: {error.orig}"
        ) from error


def _mark_of(conn: sa.Connection, study_id: int) -> dict[str, Any]:
    attrs = schema.study_system_attributes.c
    query = sa.select(attrs.value_json).where(attrs.study_id == study_id, attrs.key == MARKER)
    text = conn.execute(query).scalar_one_or_none()
    found = {} if text is None else json.loads(text)
    return found if isinstance(found, dict) else {}


def _origin(source: Side) -> str:
    """Returns what distinguishes a study from a later one of the same name."""
    t, study_id = schema.trials.c, source.study_id
    query = sa.select(hpo_study.c.created_at).where(hpo_study.c.study_id == study_id)
    created_at = source.conn.execute(query).scalar_one_or_none() if source.has_ours else None
    if created_at is None:
        first = sa.select(t.datetime_start).where(t.study_id == study_id).order_by(t.number)
        created_at = source.conn.execute(first.limit(1)).scalar_one_or_none()
    return str(created_at)
