"""Site: answers the requests below ``/hpo`` with pages about the studies of a database."""

from __future__ import annotations

import json
from typing import Any, Final

import sqlalchemy as sa
from bottle import Bottle, HTTPError, HTTPResponse, redirect, request, response, static_file

from hpo.dashboard.security_headers import REPORT
from hpo.dashboard.web.curve_data import curve_data, one_curve
from hpo.dashboard.web.log_files import LogFiles
from hpo.dashboard.web.open_trials import open_trials
from hpo.dashboard.web.templating import STATIC, environment
from hpo.errors import SpecError, StoreError
from hpo.report.activity.database_activity import database_activity
from hpo.report.activity.study_activity import study_activity
from hpo.report.overview import overview
from hpo.report.study_queries import Subject, find
from hpo.report.trial_pages import SORTS, Page, list_trials
from hpo.report.trials.trial_reasons import why_begun, why_ended
from hpo.report.trials.trial_report import trial_report
from hpo.store.db.database import Database
from hpo.store.db.optuna_tables import studies
from hpo.store.studies.trial_states import STATES, live_workers

_N_TRIALS: Final = 100
_FILES: Final = ("hpo.css", "hpo.js")


def site(db: Database, artifacts: str | None, *, allow_edit: bool) -> Any:
    """Returns the WSGI application of the pages.

    Args:
        db: The database.
        artifacts: Folder of artifacts, if not the default one.
        allow_edit: Whether optuna-dashboard may change studies, which the pages say.
    """
    app = Bottle()
    pages = _Pages(db, artifacts, allow_edit=allow_edit)
    study = "/hpo/studies/<study_id:id>"
    # Larger numbers are no ids: PostgreSQL and SQLite refuse them.
    app.router.add_filter("id", lambda _: (r"[0-9]{1,9}", int, str))
    app.get("/", callback=lambda: redirect("/hpo", 302))
    app.get("/hpo", callback=pages.studies)
    app.get(study, callback=pages.study)
    app.get(f"{study}/trials/<number:id>", callback=pages.trial)
    app.get(f"{study}/logs/<index:id>", callback=pages.log)
    app.get(f"{study}/report", callback=pages.report)
    app.get("/hpo/api/studies/<study_id:id>/curves", callback=pages.curves)
    app.get("/hpo/api/studies/<study_id:id>/curves/<number:id>", callback=pages.curve)
    app.get("/hpo/static/<name>", callback=_static)
    for status in (404, 405, 500, 503):
        app.error(status, callback=pages.failed)
    return app


def is_of_site(path: str) -> bool:
    """Returns whether the site answers a path."""
    return path in ("/", "/hpo") or path.startswith("/hpo/")


class _Pages:
    def __init__(self, db: Database, artifacts: str | None, *, allow_edit: bool) -> None:
        self._db, self._artifacts = db, artifacts
        self._common = {"database": db.masked_url, "allow_edit": allow_edit}

    def studies(self) -> str:
        """Answers with the list of studies and workers."""
        return self._render("studies.jinja", found=self._read(lambda: database_activity(self._db)))

    def study(self, study_id: int) -> str:
        """Answers with the page of a study."""
        subject = self._find(study_id)
        page = self._page()

        def read() -> dict[str, Any]:
            with self._db.read() as conn:
                live = live_workers(conn, self._db, study_id)
                opened = open_trials(conn, subject, live)
            return {
                "now": study_activity(self._db, subject.name),
                "overview": overview(self._db, subject),
                "open": opened,
                "trials": list_trials(self._db, subject, page),
                "logs": LogFiles(self._db, subject, self._artifacts).workers(),
            }

        shown = {"page": page, "sorts": SORTS, "states": STATES, "limit": _N_TRIALS}
        return self._render("study.jinja", subject=subject, **shown, **self._read(read))

    def trial(self, study_id: int, number: int) -> str:
        """Answers with the page of a trial."""
        subject = self._find(study_id)
        report = self._read(lambda: trial_report(self._db, subject, number))
        return self._render(
            "trial.jinja",
            subject=subject,
            report=report,
            begun=why_begun(report),
            ended=why_ended(report),
            log=LogFiles(self._db, subject, self._artifacts).of_trial(number),
        )

    def log(self, study_id: int, index: int) -> str:
        """Answers with the end of a worker's log."""
        subject = self._find(study_id)
        found = LogFiles(self._db, subject, self._artifacts).of_worker(index)
        if found is None:
            raise HTTPError(404, f"worker {index} of {subject.name} has no log on this machine")
        return self._render("log.jinja", subject=subject, index=index, log=found)

    def report(self, study_id: int) -> str:
        """Answers with the report of a study, in which nothing is executed."""
        # It loads matplotlib and scikit-learn, which the other pages do not need.
        from hpo.report.page.report_page import render

        subject = self._find(study_id)
        text = self._read(lambda: render(self._db, subject, "html"))
        response.set_header("Content-Security-Policy", REPORT)
        return str(text)

    def curves(self, study_id: int) -> HTTPResponse:
        """Answers with curves of a study."""
        subject = self._find(study_id)
        return _json(self._read(lambda: curve_data(self._db, subject)))

    def curve(self, study_id: int, number: int) -> HTTPResponse:
        """Answers with the curves of one trial."""
        subject = self._find(study_id)
        return _json(self._read(lambda: one_curve(self._db, subject, number)))

    def failed(self, error: HTTPError) -> str:
        """Answers with a page that says what is wrong; faults of ours are in the log alone."""
        text = "this page failed; the log of hpo dashboard -vv has the traceback"
        reason = str(error.body) if error.status_code != 500 else text
        return self._render("failed.jinja", reason=reason, status=error.status_line)

    def _find(self, study_id: int) -> Subject:
        def read() -> Subject:
            query = sa.select(studies.c.study_name).where(studies.c.study_id == study_id)
            with self._db.read() as conn:
                name = conn.scalar(query)
            if name is None:
                raise HTTPError(404, f"there is no study {study_id}; was it deleted?")
            return find(self._db, name)

        found = self._read(read)
        assert isinstance(found, Subject)
        return found

    def _read(self, read: Any) -> Any:
        try:
            return read()
        except SpecError as error:
            raise HTTPError(404, str(error)) from None
        except StoreError as error:
            raise HTTPError(503, str(error)) from None

    def _page(self) -> Page:
        sort, state = request.query.get("sort", "best"), request.query.get("state", "")
        return Page(
            sort=sort if sort in SORTS else "best",
            states=(state,) if state in STATES else (),
            limit=_N_TRIALS,
        )

    def _render(self, template: str, **values: Any) -> str:
        return environment().get_template(template).render(**self._common, **values)


def _json(content: dict[str, Any]) -> HTTPResponse:
    body = json.dumps(content, allow_nan=False)
    return HTTPResponse(body, headers={"Content-Type": "application/json"})


def _static(name: str) -> Any:
    if name not in _FILES:
        raise HTTPError(404, "there is no such file")
    return static_file(name, root=str(STATIC))
