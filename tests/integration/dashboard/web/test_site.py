"""The pages below /hpo, on studies of hpo and of plain Optuna, with hostile text in them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from hpo.dashboard.addresses import Addresses
from hpo.dashboard.guard import Guard
from hpo.dashboard.web.site import site
from hpo.report.study_queries import find
from hpo.run.files.artifacts import Artifacts
from hpo.run.scripts.script_output import OUTPUT
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_event, hpo_lease, hpo_worker
from hpo.store.optuna.storage import Storage
from hpo.store.studies import control, renaming
from tests.kits.cli_kit import fill
from tests.kits.wsgi_kit import Response, ask

pytestmark = pytest.mark.integration
EVIL = "<script>alert(1)</script>\x1b[2J\u202e"


def _get(db: Database, path: str, artifacts: str | None = None) -> Response:
    app = site(db, artifacts, allow_edit=False)
    guard = Guard(app, Addresses("127.0.0.1", 8080), app)
    return ask(guard, "GET", path)


class _Elements(HTMLParser):
    """The elements of a page, and the attributes by which it would execute text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given.get("src"))
        if tag == "a":
            self.links.append(given.get("href") or "")
        self.inline += [name for name in given if name.startswith("on") or name == "style"]


def test_a_study_is_shown_with_what_runs_and_why(database: Database) -> None:
    study_id = fill(database)
    page = _get(database, f"/hpo/studies/{study_id}")
    assert page.status == 200
    for text in ("digits", "0.7500", "trial 2", "ValueError: broken on purpose", "learning_rate"):
        assert text in page.body
    with database.read() as conn:
        host, pid = conn.execute(sa.select(hpo_worker.c.host, hpo_worker.c.pid)).one()
    assert f"by {host}:{pid}" in page.body
    failed = _get(database, f"/hpo/studies/{study_id}/trials/3")
    assert "Traceback (most recent call last)" in failed.body
    studies = _get(database, "/hpo")
    assert f'href="/hpo/studies/{study_id}"' in studies.body
    for link in _Elements(page.body).links:
        if link.startswith("/hpo"):
            assert _get(database, link).status == 200, link


def test_an_interrupted_trial_says_what_it_waits_for(sqlite_database: Database) -> None:
    db = sqlite_database
    study_id = fill(db)
    with db.write() as conn:
        conn.execute(sa.update(hpo_worker).values(ended_at=db.now(conn)))
        conn.execute(sa.update(hpo_lease).values(worker_id=None, token=0))
    page = _get(db, f"/hpo/studies/{study_id}").body
    assert "interrupted after epoch 2; no worker is running: hpo worker digits" in page
    control.steer(db, study_id, "pause")
    assert "the study is paused: hpo resume digits" in _get(db, f"/hpo/studies/{study_id}").body


def test_curves_have_training_and_validation_and_no_test_metrics(database: Database) -> None:
    study_id = fill(database)
    found = json.loads(_get(database, f"/hpo/api/studies/{study_id}/curves").body)
    assert (found["metric"], found["best"]) == ("val_accuracy", 2)
    by_number = {curve["number"]: curve for curve in found["curves"]}
    assert set(by_number) == set(range(6))
    points = by_number[2]["points"]
    assert points["val_accuracy"]["x"] == [1, 2, 3, 4]
    assert points["val_accuracy"]["y"] == pytest.approx([0.73, 0.74, 0.75, 0.74])
    # A loss that is not a number is a gap.
    assert points["train_loss"]["y"] == [None] * 4
    one = json.loads(_get(database, f"/hpo/api/studies/{study_id}/curves/5").body)
    assert [curve["number"] for curve in one["curves"]] == [5]


def test_text_of_the_database_is_never_executed(sqlite_database: Database) -> None:
    db = sqlite_database
    study_id = fill(db)
    with db.write() as conn:
        conn.execute(sa.update(hpo_event).values(message=f"{EVIL}\n{EVIL}", kind=EVIL[:32]))
        conn.execute(sa.update(hpo_worker).values(host=EVIL, device=EVIL))
    study = optuna.create_study(
        study_name=f'"><img src=x onerror=alert(1)>{EVIL}', storage=Storage(db)
    )
    study.enqueue_trial({EVIL: 1}, user_attrs={EVIL: EVIL})
    study.optimize(lambda t: t.suggest_int(EVIL, 0, 2), n_trials=1)
    for number in (study_id, study_id + 1):
        for path in ("/hpo", f"/hpo/studies/{number}", f"/hpo/studies/{number}/trials/0"):
            page = _get(db, path)
            elements = _Elements(page.body)
            assert page.status == 200
            assert elements.scripts == ["/hpo/static/hpo.js"]
            assert elements.inline == []
            assert not {"\x1b", "\u202e"} & set(page.body)


@pytest.mark.parametrize(
    "path",
    [
        *("/hpo/studies/999", "/hpo/studies/1/trials/999", "/hpo/studies/x", "/hpo/nothing"),
        *("/hpo/static/../site.py", "/hpo/static/site.py", "/hpo/static/..%2fsite.py"),
        *(
            "/hpo/studies/1/logs/0",
            "/hpo/api/studies/999/curves",
            "/hpo/studies/99999999999999999999",
        ),
    ],
)
def test_what_is_not_there_is_not_found(sqlite_database: Database, path: str) -> None:
    fill(sqlite_database)
    assert _get(sqlite_database, path).status == 404


def test_an_empty_database_says_how_to_begin(database: Database) -> None:
    assert "hpo run STUDY.toml" in _get(database, "/hpo").body


def test_a_lost_database_is_said(sqlite_database: Database) -> None:
    Path(sqlite_database.url.removeprefix("sqlite:///")).unlink()
    assert _get(sqlite_database, "/hpo").status == 503


# Logs


@pytest.fixture
def files(sqlite_database: Database, tmp_path: Path) -> Any:
    fill(sqlite_database)
    return Artifacts.of(
        find(sqlite_database, "digits"), sqlite_database.url, str(tmp_path / "files")
    )


def test_logs_of_workers_and_trials_are_shown(
    sqlite_database: Database, tmp_path: Path, files: Artifacts
) -> None:
    root = str(tmp_path / "files")
    files.log(3).parent.mkdir(parents=True)
    files.log(3).write_text("first\n" + "x" * 300_000 + "\n\x1b[31mlast\x1b[0m <b>\n")
    files.trial_folder(0).mkdir(parents=True)
    (files.trial_folder(0) / OUTPUT).write_text("epoch 1\repoch 2\n")
    renaming.rename(sqlite_database, 1, "renamed")
    assert 'href="/hpo/studies/1/logs/3"' in _get(sqlite_database, "/hpo/studies/1", root).body
    page = _get(sqlite_database, "/hpo/studies/1/logs/3", root).body
    assert "<pre>last &lt;b&gt;</pre>" in page.replace("\n", "")
    assert "first" not in page
    trial = _get(sqlite_database, "/hpo/studies/1/trials/0", root).body
    assert "<pre>epoch 2</pre>" in trial


def test_a_link_in_place_of_a_log_is_not_followed(
    sqlite_database: Database, tmp_path: Path, files: Artifacts
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    files.log(0).parent.mkdir(parents=True)
    files.log(0).symlink_to(secret)
    page = _get(sqlite_database, "/hpo/studies/1/logs/0", str(tmp_path / "files"))
    assert page.status == 404


def test_the_report_is_a_page_in_which_nothing_is_executed(sqlite_database: Database) -> None:
    study_id = fill(sqlite_database)
    page = _get(sqlite_database, f"/hpo/studies/{study_id}/report")
    assert page.status == 200
    assert "digits" in page.body
    policy = page.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "script-src" not in policy
