"""In which state a trial is shown, and how many there are: the same in all that show it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from hpo.cli import progress_view
from hpo.cli.main import hpo
from hpo.report.learning_curves import read_values
from hpo.report.overview import overview
from hpo.report.progress import snapshot
from hpo.report.study_list import list_studies
from hpo.report.study_queries import find
from hpo.report.trial_pages import Page, list_trials
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_worker
from hpo.store.db.opening import open_database
from hpo.store.ledger.leases import AssignmentRequest, AssignmentRequests, Lease
from hpo.store.ledger.ledger import Ledger
from hpo.store.studies import control, queueing
from hpo.store.studies.trial_states import Counts
from tests.kits import ledger_kit as kit

pytestmark = pytest.mark.integration
NEW = AssignmentRequest(None, 0, 2)


def _claim(db: Database, study_id: int, worker_id: int, request: AssignmentRequest = NEW) -> Lease:
    (lease,) = Ledger(db).claim(study_id, worker_id, 1, (), AssignmentRequests((request,))).leases
    return lease


def _train(db: Database, lease: Lease, *objectives: float) -> None:
    rows = [
        kit.epoch_row(lease, lease.epoch + i, value) for i, value in enumerate(objectives, start=1)
    ]
    assert Ledger(db).report(rows) == set()


def _settle(db: Database, lease: Lease, state: Any, epoch: int) -> None:
    assert Ledger(db).settle([kit.outcome(lease, state, epoch=epoch)]) == set()


def _counts(db: Database) -> list[Counts]:
    """Returns what each of the commands counts."""
    subject = find(db)
    (row,), _ = list_studies(db)
    listed = [trial.state for trial in list_trials(db, subject)]
    by_key = {"failed": "FAIL"}
    of_trials = Counts(
        **{key: listed.count(by_key.get(key, key.upper())) for key in vars(Counts())}
    )
    return [row.counts, overview(db, subject).counts, snapshot(db, subject).counts, of_trials]


def _shown(db: Database) -> tuple[Counts, str]:
    """Returns the one answer of all commands, and what `hpo run` prints into a pipe."""
    first, *others = _counts(db)
    assert all(other == first for other in others)
    subject = find(db)
    line = progress_view.plain(progress_view.View(subject, snapshot(db, subject)))
    (row,), _ = list_studies(db)
    assert line.startswith(
        f"{row.counts.finished}/{max(row.counts.finished, subject.n_trials or 0)}"
    )
    return first, line


def test_every_state_is_shown_alike(database: Database) -> None:
    db, study_id = database, kit.new_study(database, trials=9)
    mine, other, dead = (kit.new_worker(db, study_id) for _ in range(3))
    for state in ("complete", "pruned", "failed"):
        lease = _claim(db, study_id, mine)
        _train(db, lease, 0.1, 0.2)
        _settle(db, lease, state, 2)
    paused = _claim(db, study_id, mine)
    _train(db, paused, 0.3, 0.7)
    _settle(db, paused, "paused", 2)
    interrupted = _claim(db, study_id, mine)
    _train(db, interrupted, 0.4)
    running = _claim(db, study_id, other)
    _train(db, running, 0.6)
    orphan = _claim(db, study_id, dead)
    _train(db, orphan, 0.5)
    _settle(db, interrupted, "released", 1)
    queueing.enqueue(db, study_id, {"learning_rate": 0.5})
    with db.write() as conn:
        # As if its process had been killed, and nobody were there to bury it.
        of_dead = sa.update(hpo_worker).where(hpo_worker.c.worker_id == dead)
        conn.execute(of_dead.values(pid_started_at=-1.0))
    counts, line = _shown(db)
    assert counts == Counts(complete=1, pruned=1, failed=1, running=1, waiting=3, paused=1)
    assert line.startswith("3/9 trials, 1 stopped early, 1 paused, 1 failed")
    subject = find(db)
    found = {trial.number: (trial.state, trial.value) for trial in list_trials(db, subject)}
    assert found[3] == ("PAUSED", 0.7)
    assert found[4] == ("WAITING", 0.4)
    assert found[5] == ("RUNNING", None)
    assert found[6] == ("WAITING", 0.5)
    assert found[7] == ("WAITING", None)
    pages = {
        ("PAUSED",): [3],
        ("WAITING",): [6, 4, 7],
        ("COMPLETE", "PAUSED"): [0, 3],
        ("RUNNING",): [5],
    }
    for states, numbers in pages.items():
        page = list_trials(db, subject, Page("best", states))
        assert [trial.number for trial in page] == numbers
    points = {(each.number, each.state, each.values) for each in read_values(db, subject)}
    assert {(3, "PAUSED", (0.7,)), (4, "WAITING", (0.4,))} <= points
    assert not [point for point in points if point[1] == "RUNNING"]


def test_the_count_never_goes_down(sqlite_database: Database) -> None:
    db, study_id = sqlite_database, kit.new_study(sqlite_database, trials=2)
    worker_id = kit.new_worker(db, study_id)
    seen = []
    lease = _claim(db, study_id, worker_id)
    _train(db, lease, 0.1, 0.2)
    _settle(db, lease, "paused", 2)
    seen.append(_shown(db)[1])
    lease = _claim(db, study_id, worker_id, AssignmentRequest(lease.trial_id, 2, 3))
    seen.append(_shown(db)[1])
    _settle(db, lease, "released", 2)
    seen.append(_shown(db)[1])
    lease = _claim(db, study_id, worker_id, AssignmentRequest(lease.trial_id, 2, 3))
    _train(db, lease, 0.3)
    _settle(db, lease, "complete", 3)
    seen.append(_shown(db)[1])
    lease = _claim(db, study_id, worker_id)
    control.cancel(db, study_id, [1])
    seen.append(_shown(db)[1])
    assert [line.partition(" trials")[0] for line in seen] == ["0/2", "0/2", "0/2", "1/2", "2/3"]
    assert seen[-1].startswith("2/3 trials (budget 2), ")


def test_a_paused_trial_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///hpo.db", create=True)
    study_id = kit.new_study(db)
    worker_id = kit.new_worker(db, study_id)
    lease = _claim(db, study_id, worker_id)
    _train(db, lease, 0.25, 0.75)
    _settle(db, lease, "paused", 2)

    def out(*arguments: str) -> str:
        result = CliRunner().invoke(hpo, arguments, prog_name="hpo")
        assert result.exit_code == 0, result.output
        return result.stdout

    _, row = out("trials", "--state", "paused").splitlines()
    assert row.split()[:4] == ["0", "PAUSED", "0.7500", "2"]
    (record,) = json.loads(out("trials", "-f", "json"))
    assert (record["state"], record["value"]) == ("PAUSED", 0.75)
    (record,) = csv.DictReader(io.StringIO(out("trials", "-f", "csv")))
    assert (record["state"], record["value"]) == ("PAUSED", "0.75")
    assert " trials     0 of 5: 1 paused\n" in out("show")
    assert out("ls").splitlines()[1].split()[:3] == ["s", "active", "0/5"]
