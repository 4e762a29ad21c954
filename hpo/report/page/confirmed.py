"""Confirmation of a study as its report shows it. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from hpo.report.confirmation.verdict import interval, probability
from hpo.report.page.page_tables import Table
from hpo.report.page.sentences import name_of
from hpo.report.page.study_report import StudyReport
from hpo.report.text.formatting import number


@dataclass(frozen=True)
class Confirmed:
    """The section about the best trials that were trained again.

    Attributes:
        sentence: What it shows.
        seeds: Number of new seeds.
        table: The trials, the best mean first.
    """

    sentence: str
    seeds: int
    table: Table


def confirmed(report: StudyReport) -> Confirmed | None:
    """Returns the section; None if the best trials were not trained again."""
    found = report.confirmation
    if found is None:
        return None
    p_of = {one.number: probability(one.p) for one in found.comparisons}
    differences = {one.number: number(one.test.difference) for one in found.comparisons}
    rows = []
    for trial in found.trials:
        estimate = trial.estimate
        is_first = found.winner is not None and trial.number == found.winner.number
        rows.append(
            (
                str(trial.number),
                number(trial.searched),
                "-" if estimate is None else number(estimate.mean),
                "-" if estimate is None else interval(estimate),
                f"{len(trial.values)} of {len(trial.runs)}",
                "" if is_first else differences.get(trial.number, "-"),
                "" if is_first else p_of.get(trial.number, "-"),
            )
        )
    metric = name_of(found.metric)
    header = ("trial", "in the search", f"mean {metric}", "95% interval", "runs", "behind by", "p")
    return Confirmed(found.sentence, len(found.seeds), Table(header, tuple(rows)))
