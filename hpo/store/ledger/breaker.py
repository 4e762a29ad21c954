"""Circuit breaker: stops a study whose trials mostly fail, and records why.

A study stops if, of the last ten trials that ended (all of them while there are fewer), more than
two thirds failed, and at least five. So a third of the points may well be too large for the
machine, and a study whose every trial fails stops after the fifth. Trials do not count that were
lost with their machine, cancelled, or failed by a fault of hpo's own, and neither do those that
ended before the study was last resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store.db.hpo_tables import hpo_event
from hpo.store.db.optuna_tables import trials
from hpo.store.ledger.locked_study import LockedStudy
from hpo.store.ledger.spending import CANCELLED
from hpo.store.rows import events
from hpo.store.rows.events import Event

WINDOW = 10
"""Trials that ended last, of which the failed ones are counted."""
MIN_FAILED = 5
"""Fewer failures stop no study: the first points may happen to be bad ones."""
NOT_COUNTED = ("lost", "internal", CANCELLED)
"""Kinds of the last event of trials whose failure says nothing about the study."""
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_MAX_CAUSE = 200
"""Characters of the cause that are shown: a line or two of a terminal."""


def trips(failed: Sequence[bool]) -> bool:
    """Returns whether a study stops, given whether each of its latest trials failed."""
    return sum(failed) >= MIN_FAILED and 3 * sum(failed) > 2 * len(failed)


def stop_if_failing(locked: LockedStudy, cause: str) -> None:
    """Stops an active study whose trials mostly fail.

    Args:
        locked: The study; a trial of it has just failed.
        cause: Why that trial failed: its reason, or the text of its error.
    """
    if locked.state != "active":
        return
    failed = _latest(locked)
    if not trips(failed):
        return
    locked.state = "stopped"
    locked.reason = f"{sum(failed)} of the last {len(failed)} trials failed: {_headline(cause)}"
    locked.update_study(state=locked.state, reason=locked.reason, updated_at=locked.now)
    locked.record([Event(locked.study_id, "stopped", locked.reason)])


def _latest(locked: LockedStudy) -> list[bool]:
    """Returns whether each of the latest trials failed, without those that do not count."""
    event = hpo_event.c
    resumed = sa.select(sa.func.max(event.at)).where(
        event.study_id == locked.study_id, event.kind == "active"
    )
    since = locked.conn.execute(resumed).scalar()
    # The trials that started last stand for those that ended last: that order has an index.
    statement = (
        sa.select(trials.c.trial_id, trials.c.state)
        .where(trials.c.study_id == locked.study_id, trials.c.state.in_(_ENDED))
        .order_by(trials.c.trial_id.desc())
        .limit(4 * WINDOW)
    )
    if since is not None:
        statement = statement.where(trials.c.datetime_complete > since)
    rows = locked.conn.execute(statement).all()
    failed = [row.trial_id for row in rows if row.state is TrialState.FAIL]
    last = events.last_of(locked.conn, failed)
    not_counted = {trial_id for trial_id, event in last.items() if event.kind in NOT_COUNTED}
    counted = [row for row in rows if row.trial_id not in not_counted]
    return [row.state is TrialState.FAIL for row in counted[:WINDOW]]


def _headline(cause: str) -> str:
    # A traceback's last line says what happened.
    lines = [line.strip() for line in cause.splitlines() if line.strip()]
    return lines[-1][:_MAX_CAUSE] if lines else "for no known reason"
