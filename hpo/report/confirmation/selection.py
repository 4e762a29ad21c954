"""Selection: the best trials of a study, which are worth confirming."""

from __future__ import annotations

from typing import Final

from hpo.report.study_queries import Subject
from hpo.report.text.text_tables import to_json
from hpo.report.trial_pages import Page, TrialRow, list_trials
from hpo.store.db.database import Database

_FACTOR: Final = 10
_LEAST: Final = 100
"""Trials among which different params are looked for, times those wanted, and at least."""


def best_distinct(db: Database, subject: Subject, n: int) -> list[TrialRow]:
    """Returns the best complete trials by the search's value, each with other params.

    Trials with equal params differ by their seeds alone, so one of them stands for all.

    Args:
        db: The database.
        subject: A study of one objective.
        n: How many; there may be fewer.
    """
    page = Page("best", ("COMPLETE",), max(_LEAST, _FACTOR * n))
    found: dict[str, TrialRow] = {}
    for row in list_trials(db, subject, page):
        if row.has_finite_value:
            found.setdefault(to_json(dict(sorted(row.params.items()))), row)
    return list(found.values())[:n]
