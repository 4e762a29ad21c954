"""Database screen: what `hpo top` shows of a database, as lines of a given size. Pure functions."""

from __future__ import annotations

from rich.text import Text

from hpo.cli.progress_view import DOT
from hpo.cli.screens.panels import Panel, cut, fitted
from hpo.cli.screens.worker_panel import worker_panel
from hpo.report.activity.database_activity import DatabaseActivity, StudyLoad
from hpo.report.activity.worker_states import DEAD
from hpo.report.text import formatting
from hpo.report.text.printable import cell

_WIDEST_NAME = 32


def lines(page: DatabaseActivity, where: str, width: int, height: int | None = None) -> list[Text]:
    """Returns the screen.

    Args:
        where: The database's masked URL.
        width: Maximum cells of a line.
        height: Maximum number of lines; None for a page without an end.
    """
    head = Text(cut(f"{cell(where, 200)}{DOT}{_totals(page)}", width))
    head.stylize("bold", 0, min(len(where), len(head)))
    panels = [_studies(page), worker_panel(page.workers, page.now, page.names)]
    room = None if height is None else max(0, height - 1)
    return [head, *fitted(panels, width, room)][:height]


def _totals(page: DatabaseActivity) -> str:
    n_live = sum(each.state != DEAD for each in page.workers)
    n_dead = len(page.workers) - n_live
    n_active = sum(load.row.subject.state == "active" for load in page.studies)
    n_running = sum(load.row.counts.running for load in page.studies)
    parts = [
        _counted(len(page.studies), "study", "studies") + f", {formatting.count(n_active)} active",
        _counted(n_live, "worker", "workers") + (f", {n_dead} dead" if n_dead else ""),
        _counted(n_running, "running trial", "running trials"),
    ]
    return DOT.join(parts)


def _counted(n: int, one: str, many: str) -> str:
    return f"{formatting.count(n)} {one if n == 1 else many}"


def _studies(page: DatabaseActivity) -> Panel:
    header = ("studies", "state", "trials", "running", "workers", "best", "rate", "updated")
    rows = [_row(load, page) for load in page.studies]
    styles = ["" if load.row.n_workers else "dim" for load in page.studies]
    return Panel(header, rows, styles, frozenset({2, 3, 4}), optional=(3, 4, 7, 6))


def _row(load: StudyLoad, page: DatabaseActivity) -> tuple[str, ...]:
    row, subject = load.row, load.row.subject
    name = cell(subject.name, _WIDEST_NAME)
    if subject.fault:
        return (name, "unreadable", *[""] * 6)
    return (
        name,
        subject.state,
        formatting.trials(row.counts.finished, subject.n_trials, subject.budget),
        formatting.count(row.counts.running),
        formatting.count(row.n_workers),
        formatting.number(row.best),
        _rate(load),
        formatting.ago(row.updated_at, page.now),
    )


def _rate(load: StudyLoad) -> str:
    if load.rates is None:
        return ""
    if load.rates.epochs_per_s:
        return formatting.rate(load.rates.epochs_per_s, "epochs")
    return formatting.rate(load.rates.trials_per_s) if load.rates.trials_per_s else ""
