"""Study report: everything that the page of a study shows, read from the database."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from hpo.errors import HpoError
from hpo.report.confirmation import Confirmation
from hpo.report.confirmation import read as read_confirmation
from hpo.report.endings_summary import Ending, endings_of
from hpo.report.learning_curves import Curve, Value, read_curves, read_values
from hpo.report.page.comparable_trials import read_comparable
from hpo.report.page.effort import Effort, read_effort
from hpo.report.page.influence import Influence, influence_of
from hpo.report.study_queries import Subject
from hpo.report.trial_pages import Page, TrialRow, best_trials, list_trials
from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import hpo_worker
from hpo.store.db.optuna_tables import trials
from hpo.store.rows import events
from hpo.store.studies import provenance
from hpo.store.studies.provenance import Provenance
from hpo.store.studies.trial_states import Counts, counts_of

N_TOP: Final = 10
"""Trials in the list of the best ones."""


@dataclass(frozen=True)
class StudyReport:
    """A study as its report shows it.

    Attributes:
        subject: The study.
        source: The database, without its password.
        made_at: The database's clock, naive UTC.
        last_at: When the last trial ended; None if none has.
        counts: Trials by state.
        best: The best trial, or the Pareto front, the best of the first objective first.
        chosen: The trial that the report recommends: the winner of a confirmation, else the best
            one; None without one, and for several objectives.
        confirmation: The best trials, trained again with new seeds; None if they were not.
        top: The best complete trials, at most `N_TOP`; without any, those stopped early.
        values: Values of all trials, for the history.
        curves: Curves of the best trial and of others; empty without epochs.
        influence: Of the parameters, for each objective.
        effort: Epochs and time.
        endings: How trials ended without completion.
        notices: Warnings about the data.
        provenance: Environments and data, as far as they were recorded.
        versions: Of the workers, where no environment was recorded.
    """

    subject: Subject
    source: str
    made_at: datetime.datetime
    last_at: datetime.datetime | None
    counts: Counts
    best: tuple[TrialRow, ...]
    chosen: TrialRow | None
    confirmation: Confirmation | None
    top: tuple[TrialRow, ...]
    values: tuple[Value, ...]
    curves: tuple[Curve, ...]
    influence: tuple[Influence, ...]
    effort: Effort
    endings: tuple[Ending, ...]
    notices: tuple[str, ...]
    provenance: Provenance
    versions: tuple[Mapping[str, str], ...]

    @property
    def is_confirmed(self) -> bool:
        """Whether the chosen trial is that of a complete confirmation."""
        found = self.confirmation
        return found is not None and found.is_complete and found.winner is not None

    @property
    def is_final(self) -> bool:
        """Whether no trial is trained any more, so that the result does not change."""
        ended = self.subject.has_ended and not self.counts.running
        return ended or (self.subject.spec is None and not self.counts.running)

    @property
    def failed(self) -> tuple[Ending, ...]:
        """How trials failed, the most frequent first."""
        return tuple(ending for ending in self.endings if ending.state == "FAIL")


def read_report(db: Database, subject: Subject) -> StudyReport:
    """Reads the report of a study.

    Raises:
        StoreError: A row cannot be read.
    """
    best = tuple(best_trials(db, subject))
    confirmation = read_confirmation(db, subject)
    chosen = _chosen(db, subject, best, confirmation)
    curves = _curves(db, subject, chosen or (best[0] if best else None))
    values = tuple(read_values(db, subject))
    top = _top(db, subject)
    with db.read() as conn:
        comparable = read_comparable(conn, subject)
        known = provenance.read(conn, subject.study_id)
        last_at = sa.select(sa.func.max(trials.c.datetime_complete))
        return StudyReport(
            subject=subject,
            source=db.masked_url,
            made_at=db.now(conn),
            last_at=conn.scalar(last_at.where(trials.c.study_id == subject.study_id)),
            counts=counts_of(conn, db, subject.study_id),
            best=best,
            chosen=chosen,
            confirmation=confirmation,
            top=top,
            values=values,
            curves=curves,
            influence=tuple(influence_of(each) for each in comparable),
            effort=read_effort(db, conn, subject),
            endings=endings_of(conn, subject.study_id),
            notices=events.notices_of(conn, subject.study_id),
            provenance=known,
            versions=() if known.environments else _versions(conn, subject.study_id),
        )


def _top(db: Database, subject: Subject) -> tuple[TrialRow, ...]:
    for state in ("COMPLETE", "PRUNED"):
        found = list_trials(db, subject, Page("best", (state,), N_TOP))
        rows = tuple(row for row in found if row.value is not None)
        if rows:
            return rows
    return ()


def _chosen(
    db: Database,
    subject: Subject,
    best: Sequence[TrialRow],
    confirmation: Confirmation | None,
) -> TrialRow | None:
    if len(subject.directions) > 1 or not best:
        return None
    winner = None if confirmation is None else confirmation.winner
    if confirmation is None or winner is None or not confirmation.is_complete:
        return best[0]
    found = list_trials(db, subject, Page(numbers=(winner.number,)))
    return found[0] if found else best[0]


def _curves(db: Database, subject: Subject, chosen: TrialRow | None) -> tuple[Curve, ...]:
    shown = [chosen.number] if chosen is not None and chosen.n_epochs else []
    try:
        return tuple(read_curves(db, subject, shown))
    except HpoError:
        # Its values have no epochs in hpo's tables: Optuna alone trained it.
        return tuple(read_curves(db, subject))


def _versions(conn: Connection, study_id: int) -> tuple[Mapping[str, str], ...]:
    """Returns the versions that the workers had."""
    column = hpo_worker.c
    query = sa.select(column.versions).where(column.study_id == study_id).distinct()
    return tuple(json.loads(text) for text in conn.scalars(query))
