"""Records of screens: what they show, in full, for programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from hpo.report.activity.database_activity import DatabaseActivity, StudyLoad
from hpo.report.activity.rates import Rates
from hpo.report.activity.study_activity import StudyActivity
from hpo.report.activity.worker_states import WorkerState
from hpo.report.trial_pages import TrialRow
from hpo.store.studies.trial_states import Counts


def study_record(page: StudyActivity) -> dict[str, Any]:
    """Returns a moment of a study as a record; its keys are always the same."""
    subject, found = page.subject, page.snapshot
    return {
        "name": subject.name,
        "state": subject.state,
        "reason": subject.reason,
        "metric": list(subject.metrics),
        "direction": list(subject.directions),
        "trials": _counts(found.counts),
        "n_trials": subject.n_trials,
        "n_epochs": found.n_epochs,
        "deadline_at": subject.deadline_at,
        "best": _trial(found.best),
        "leader": _trial(page.leader),
        "curve": {
            name: {"epochs": list(epochs), "values": list(values)}
            for name, (epochs, values) in page.curve.items()
        },
        "failure": None if found.failure is None else dataclasses.asdict(found.failure),
        "running": [dataclasses.asdict(trial) for trial in page.running],
        "workers": [_worker(each) for each in page.workers],
        "rates": _rates(page.rates),
        "left": dataclasses.asdict(page.left),
        "events": [dataclasses.asdict(event) for event in page.events],
        "created_at": subject.created_at,
        "ended_at": page.ended_at,
        "now": page.now,
    }


def database_record(page: DatabaseActivity, where: str) -> dict[str, Any]:
    """Returns a moment of a database as a record; its keys are always the same.

    Args:
        where: The database's masked URL.
    """
    return {
        "storage": where,
        "studies": [_study(load) for load in page.studies],
        "workers": [
            {"study": page.names.get(each.worker.study_id), **_worker(each)}
            for each in page.workers
        ],
        "now": page.now,
    }


def _study(load: StudyLoad) -> dict[str, Any]:
    row, subject = load.row, load.row.subject
    return {
        "name": subject.name,
        "state": subject.state,
        "metric": list(subject.metrics),
        "direction": list(subject.directions),
        "trials": _counts(row.counts),
        "n_trials": subject.n_trials,
        "best": row.best,
        "best_state": row.best_state,
        "n_workers": row.n_workers,
        "rates": _rates(load.rates),
        "created_at": subject.created_at,
        "updated_at": row.updated_at,
        "fault": subject.fault or None,
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {**vars(counts), "finished": counts.finished}


def _trial(trial: TrialRow | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    names = ("number", "state", "value", "epoch", "params", "started_at", "ended_at")
    return {name: getattr(trial, name) for name in names}


def _worker(each: WorkerState) -> dict[str, Any]:
    worker = each.worker
    names = ("worker_id", "host", "pid", "device", "started_at", "heartbeat_at", "lane_epochs")
    shown = {name: getattr(worker, name) for name in names}
    return {**shown, "state": each.state, "n_trials": each.n_trials}


def _rates(rates: Rates | None) -> dict[str, Any] | None:
    if rates is None:
        return None
    return {
        **dataclasses.asdict(rates),
        "trials_per_s": rates.trials_per_s,
        "epochs_per_s": rates.epochs_per_s,
    }
