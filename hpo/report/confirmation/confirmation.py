"""Confirmation of a study: its best trials, trained again with new seeds, as reports show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpo.report.confirmation.estimates import Estimate, estimate
from hpo.report.confirmation.seed_results import (
    Comparison,
    ConfirmedTrial,
    RunResult,
    SeedResults,
)
from hpo.report.confirmation.verdict import verdict
from hpo.report.study_queries import Subject, read_subjects
from hpo.report.trial_pages import Page, TrialRow, best_trials, list_trials
from hpo.store.db.database import Database
from hpo.store.rows import study_rows
from hpo.store.studies import confirmations
from hpo.store.studies.confirmations import SeedRun
from hpo.store.studies.trial_states import FINISHED


@dataclass(frozen=True)
class Confirmation:
    """The best trials of a study, each trained again with several seeds.

    Attributes:
        study: The name of the study that holds the runs.
        of: The name of the study that is confirmed.
        metric: The objective's name; all values are of it.
        seeds: The seeds of the runs.
        results: The trials with their runs, and how they compare.
        searched_first: The number of the trial that the search ranks first now.
        test: Metrics of the winner on test data, means over its runs; empty while the study or
            its confirmation runs.
        sentence: What the runs show, in words.
    """

    study: str
    of: str
    metric: str
    seeds: tuple[int, ...]
    results: SeedResults
    searched_first: int
    test: Mapping[str, Estimate] = field(default_factory=dict)
    sentence: str = ""

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return self.results.direction

    @property
    def trials(self) -> tuple[ConfirmedTrial, ...]:
        """The confirmed trials, the best mean first."""
        return self.results.trials

    @property
    def winner(self) -> ConfirmedTrial | None:
        """The trial with the best mean; None while no run is complete."""
        return self.results.winner

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The winner compared with each of the others."""
        return self.results.comparisons

    @property
    def runs(self) -> tuple[RunResult, ...]:
        """The runs of all trials."""
        return tuple(run for trial in self.trials for run in trial.runs)

    @property
    def n_left(self) -> int:
        """How many runs have not ended."""
        return sum(run.state not in FINISHED for run in self.runs)

    @property
    def is_complete(self) -> bool:
        """Whether every run has ended, and the search has found no better trial since."""
        known = any(trial.number == self.searched_first for trial in self.trials)
        return known and not self.n_left

    @property
    def is_confirmed(self) -> bool:
        """Whether the winner is better than each of the others, beyond the noise of seeds."""
        n_others = len(self.trials) - 1
        clear = [one for one in self.comparisons if one.is_significant]
        return self.is_complete and n_others > 0 and len(clear) == n_others


def read(db: Database, subject: Subject) -> Confirmation | None:
    """Returns the confirmation of a study; None where it has none.

    Args:
        db: The database.
        subject: The study that is confirmed.
    """
    if subject.created_at is None:
        return None
    with db.read() as conn:
        study_id = confirmations.find(conn, subject.created_at)
        if study_id is None:
            return None
        runs = confirmations.runs_of(conn, study_id)
        (own,) = read_subjects(conn, study_rows.name_of(conn, study_id))
    numbers = tuple(dict.fromkeys(run.trial for run in runs.values()))
    searched = {row.number: row for row in list_trials(db, subject, Page(numbers=numbers))}
    best = best_trials(db, subject)
    if not searched or not best:
        return None
    rows = _latest(list_trials(db, own), runs)
    trials = [_confirmed(searched[number], rows) for number in numbers if number in searched]
    return _of(own, subject, SeedResults.of(subject.direction, trials), best[0].number)


def _of(own: Subject, subject: Subject, results: SeedResults, first: int) -> Confirmation:
    runs = [run for trial in results.trials for run in trial.runs]
    n_left = sum(run.state not in FINISHED for run in runs)
    winner = results.winner
    return Confirmation(
        study=own.name,
        of=subject.name,
        metric=subject.metric,
        seeds=tuple(dict.fromkeys(run.seed for run in runs)),
        results=results,
        searched_first=first,
        test=_tested(winner) if winner and subject.shows_test and not n_left else {},
        sentence=verdict(results, subject.metric, n_left=n_left, searched_first=first),
    )


def _latest(rows: Sequence[TrialRow], runs: Mapping[int, SeedRun]) -> dict[SeedRun, TrialRow]:
    """Returns the row of each run; of one that was retried the last one."""
    return {runs[row.trial_id]: row for row in rows if row.trial_id in runs}


def _confirmed(searched: TrialRow, rows: Mapping[SeedRun, TrialRow]) -> ConfirmedTrial:
    results = tuple(
        RunResult(
            number=row.number,
            seed=run.seed,
            state=row.state,
            value=row.value if row.is_complete and row.has_finite_value else None,
            reason=row.reason,
            test=row.test,
        )
        for run, row in rows.items()
        if run.trial == searched.number
    )
    return ConfirmedTrial(searched.number, searched.params, searched.value, results)


def _tested(winner: ConfirmedTrial) -> dict[str, Estimate]:
    complete = [run.test for run in winner.runs if run.value is not None]
    names = dict.fromkeys(name for test in complete for name in test)
    found = {name: estimate([test[name] for test in complete if name in test]) for name in names}
    return {name: one for name, one in found.items() if one is not None}
