"""Worker panel: workers with their devices, trials and heartbeats. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from hpo.cli.screens.panels import Panel
from hpo.report.activity.worker_states import DEAD, LIVE, WorkerState
from hpo.report.text import formatting

_STYLES = {LIVE: "", DEAD: "red"}


def worker_panel(
    workers: Sequence[WorkerState],
    now: datetime.datetime,
    studies: Mapping[int, str] | None = None,
) -> Panel:
    """Returns a panel with a row for each worker.

    Args:
        now: The database's clock.
        studies: Name of each study by its id, if the workers are those of several.
    """
    header: tuple[str, ...] = ("workers", "device", "trials", "epochs", "up for", "heartbeat")
    rows = [_row(each, now) for each in workers]
    if studies is not None:
        header = (*header, "study")
        rows = [
            (*row, studies.get(each.worker.study_id, ""))
            for row, each in zip(rows, workers, strict=True)
        ]
    styles = [_STYLES.get(each.state, "yellow") for each in workers]
    return Panel(header, rows, styles, right=frozenset({2, 3}), optional=(4, 3))


def _row(each: WorkerState, now: datetime.datetime) -> tuple[str, ...]:
    worker = each.worker
    up_s = (now - worker.started_at).total_seconds()
    return (
        f"{worker.host}:{worker.pid}",
        worker.device,
        formatting.count(each.n_trials),
        "-" if worker.lane_epochs is None else formatting.count(worker.lane_epochs),
        formatting.duration(max(0, round(up_s))) if each.state != DEAD else "-",
        _heartbeat(each, now),
    )


def _heartbeat(each: WorkerState, now: datetime.datetime) -> str:
    ago = formatting.ago(each.worker.heartbeat_at, now)
    if each.state == LIVE:
        return ago
    return f"{ago}: {each.state}"
