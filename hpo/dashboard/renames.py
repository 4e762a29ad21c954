"""Renames: answers the dashboard's request to rename a study in its place.

The dashboard itself copies the trials to a new study and deletes the old one. That loses hpo's
rows and removes the study while its workers run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from optuna_dashboard._serializer import serialize_frozen_study

from hpo.errors import SpecError, StoreError
from hpo.optuna_internals import study_id_of
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage
from hpo.store.studies import renaming

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PATH: Final = re.compile(r"/api/studies/([0-9]{1,9})/rename/*")


class Renaming:
    """Renames studies and passes every other request to the dashboard.

    Args:
        db: The database.
        app: The dashboard.
    """

    def __init__(self, db: Database, app: WSGIApplication) -> None:
        self._db, self._app = db, app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request; the guard has checked that its body is a JSON object."""
        found = _PATH.fullmatch(str(environ.get("PATH_INFO", "")))
        if found is None or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        status, answer = self._rename(int(found[1]), json.load(environ["wsgi.input"]))
        content = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [content]

    def _rename(self, study_id: int, asked: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        name = asked.get("study_name")
        if not isinstance(name, str):
            return HTTPStatus.BAD_REQUEST, {"reason": "study_name must be text"}
        storage = Storage(self._db)
        try:
            renaming.rename(self._db, study_id, name)
            (study,) = (s for s in storage.get_all_studies() if study_id_of(s) == study_id)
        except SpecError as error:
            return HTTPStatus.BAD_REQUEST, {"reason": str(error)}
        except StoreError as error:
            is_away = self._db.is_outage(error)
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_away else HTTPStatus.NOT_FOUND
            return status, {"reason": str(error)}
        return HTTPStatus.CREATED, serialize_frozen_study(study)
