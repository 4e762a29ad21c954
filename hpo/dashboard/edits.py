"""Edits: answers the requests of optuna-dashboard whose own answers would break hpo's studies.

To rename a study, optuna-dashboard copies the trials to a new study and deletes the old one. That
loses hpo's rows and removes the study while its workers run. To end a trial, it writes the state
past the lease of the worker that trains it, and past the budget that counts it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from optuna_dashboard._serializer import serialize_frozen_study

from hpo.dashboard.refusals import path_of, respond
from hpo.errors import SpecError, StoreError
from hpo.optuna_internals import study_id_of
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_study
from hpo.store.db.optuna_tables import studies, trials
from hpo.store.optuna.storage import Storage
from hpo.store.studies import renaming

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_RENAME: Final = re.compile(r"/api/studies/([0-9]{1,9})/rename")
_TELL: Final = re.compile(r"/api/trials/([0-9]{1,9})/tell")

Answer = tuple[HTTPStatus, dict[str, Any]]


class Edits:
    """Renames studies, refuses to end trials of hpo, and passes other requests to the dashboard.

    Args:
        db: The database.
        app: The dashboard.
    """

    def __init__(self, db: Database, app: WSGIApplication) -> None:
        self._db, self._app = db, app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request; the guard has checked its path, and that its body is an object."""
        answer = self._answer(environ) if environ["REQUEST_METHOD"] == "POST" else None
        if answer is None:
            return self._app(environ, start_response)
        status, content = answer
        line = f"{status.value} {status.phrase}"
        return respond(start_response, line, json.dumps(content), "application/json")

    def _answer(self, environ: WSGIEnvironment) -> Answer | None:
        path = path_of(environ)
        try:
            if found := _RENAME.fullmatch(path):
                return self._rename(int(found[1]), json.load(environ["wsgi.input"]))
            if found := _TELL.fullmatch(path):
                return self._tell(int(found[1]))
        except SpecError as error:
            return HTTPStatus.BAD_REQUEST, {"reason": str(error)}
        except StoreError as error:
            is_away = self._db.is_outage(error)
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_away else HTTPStatus.NOT_FOUND
            return status, {"reason": str(error)}
        return None

    def _rename(self, study_id: int, asked: dict[str, Any]) -> Answer:
        name = asked.get("study_name")
        if not isinstance(name, str):
            return HTTPStatus.BAD_REQUEST, {"reason": "study_name must be text"}
        storage = Storage(self._db)
        renaming.rename(self._db, study_id, name)
        found = [s for s in storage.get_all_studies() if study_id_of(s) == study_id]
        if not found:
            return HTTPStatus.NOT_FOUND, {"reason": "the study has been deleted meanwhile"}
        return HTTPStatus.CREATED, serialize_frozen_study(found[0])

    def _tell(self, trial_id: int) -> Answer | None:
        query = (
            sa.select(studies.c.study_name, trials.c.number)
            .join(trials, trials.c.study_id == studies.c.study_id)
            .join(hpo_study, hpo_study.c.study_id == studies.c.study_id)
            .where(trials.c.trial_id == trial_id)
        )
        with self._db.read() as conn:
            row = conn.execute(query).first()
        if row is None:
            return None
        reason = (
            f"trial {row.number} of {row.study_name} is trained by workers of hpo, which end it: "
            "hpo cancel ends it earlier"
        )
        return HTTPStatus.CONFLICT, {"reason": reason}
