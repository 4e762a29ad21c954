"""Sentences of a report: what its numbers say, and what they cannot say. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpo.report.confirmation.estimates import Estimate
from hpo.report.confirmation.verdict import interval
from hpo.report.endings_summary import Ending
from hpo.report.page.influence import is_number
from hpo.report.page.study_report import StudyReport
from hpo.report.text import formatting
from hpo.report.text.formatting import count, duration, number
from hpo.report.text.printable import cell
from hpo.report.trial_pages import TrialRow
from hpo.spec.space.dimensions import Float, Int

_LONGEST_NAME: Final = 60
_REASONS: Final = {
    "pruned": "other trials looked better, or the study ended",
    "nan": "diverged: the objective or the loss was not a number",
    "oom": "out of memory",
    "user_code": "the code of the trial failed",
    "timeout": "took longer than a trial may",
    "lost": "the worker was lost too often",
    "cancelled": "cancelled by a user",
    "internal": "internal error of hpo",
    "PRUNED": "no reason recorded",
    "FAIL": "no reason recorded",
}


def name_of(text: str) -> str:
    """Returns a name from the database, on one line and of bounded length."""
    return cell(text, _LONGEST_NAME)


def reason(ending: Ending) -> str:
    """Returns why trials ended, in words."""
    return _REASONS.get(ending.kind, name_of(ending.kind))


def trials(n: int, adjective: str = "") -> str:
    """Writes a number of trials: ``1 trial``, ``26 complete trials``."""
    return f"{count(n)} {adjective}{' ' if adjective else ''}trial{'s' * (n != 1)}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Joins names: ``a, b and c``."""
    return (
        names[0]
        if len(names) == 1
        else f"{', '.join(names[:-1])} {last} {names[-1]}"
        if names
        else ""
    )


def status(report: StudyReport) -> str:
    """Returns a warning if the study may still change; empty if it is over."""
    if report.is_final:
        return ""
    counts, state = report.counts, report.subject.state
    open_ones = {"running": counts.running, "paused": counts.paused, "waiting": counts.waiting}
    parts = [f"{count(n)} {name}" for name, n in open_ones.items() if n]
    which = f" ({listed(parts)})" if parts else ""
    verb = "is paused" if state == "paused" else "has not ended"
    spec = report.subject.spec
    of_task = spec is not None and spec.kind == "task"
    test = " Values on test data are not shown before it ends." if of_task else ""
    return f"This study {verb}: its result may still change{which}.{test}"


def headline(report: StudyReport) -> str:
    """Returns the answer in one sentence."""
    counts, subject = report.counts, report.subject
    so_far = "" if report.is_final else "So far, "
    if report.chosen is not None:
        best = report.chosen
        if report.is_confirmed:
            return _confirmed(report, best.number)
        value = formatting.with_spread(best.value, _spread(best))
        about = f"its {_metric(report)} is {value}"
        if not best.is_complete:
            return f"No trial was trained to the end. Trial {best.number} came furthest: {about}."
        among = trials(counts.complete, "complete")
        of = f"the best of {among}" if counts.complete > 1 else "the only complete trial"
        return _upper(f"{so_far}trial {best.number} is {of}: {about}.")
    if report.best:
        n, metrics = len(report.best), listed([name_of(m) for m in subject.metrics])
        if n == 1:
            return _upper(
                f"{so_far}trial {report.best[0].number} is the best in each of {metrics}."
            )
        return _upper(
            f"{so_far}{trials(n)} are the best compromises between {metrics}: no other trial is "
            "better than one of them in one objective without being worse in another."
        )
    if not counts.total:
        return "There is no result: no trial has begun."
    if counts.failed and counts.failed == counts.finished and not counts.complete:
        which = "all" if counts.failed == counts.total else "so far all"
        return f"There is no result: {which} {trials(counts.failed)} that ended failed."
    return f"There is no result yet: none of {trials(counts.total)} is complete."


def _confirmed(report: StudyReport, number_: int) -> str:
    found = report.confirmation
    assert found is not None
    mean = found.winner.estimate.mean if found.winner and found.winner.estimate else None
    about = f"mean {_metric(report)} over {len(found.seeds)} new seeds: {number(mean)}"
    if found.is_confirmed:
        return f"Trial {number_} is the best, and new seeds confirm it ({about})."
    if len(found.trials) > 1:
        return f"Trial {number_} is the best, but perhaps only by chance ({about})."
    return f"Trial {number_} is the best of the search ({about})."


def lead(report: StudyReport) -> str:
    """Returns how far the best trial is ahead of the next one; empty if that is unknown."""
    best, others = report.chosen, report.top[1:]
    if best is None or not best.is_complete or not others or report.confirmation is not None:
        return ""
    after = others[0]
    same = [row for row in report.top if row.value == best.value]
    if len(same) > 1:
        more = " at least" if len(same) == len(report.top) < report.counts.complete else ""
        return f"It shares this value with{more} {trials(len(same) - 1, 'other')}."
    return f"The next best, trial {after.number}, reached {number(after.value)}."


def tested(report: StudyReport) -> str:
    """Returns the chosen trial's values on test data; empty while the study runs."""
    if report.chosen is None or not report.is_final or not report.subject.shows_test:
        return ""
    values = [f"{name_of(name)} {number(value)}" for name, value in report.chosen.test.items()]
    which = ""
    if report.is_confirmed and report.confirmation is not None:
        found = report.confirmation.test
        values = [f"{name_of(name)} {_estimate(one)}" for name, one in found.items()]
        which = f", as the mean over {len(report.confirmation.seeds)} new seeds"
    return f"On test data, which the search never saw{which}: {listed(values)}." if values else ""


def _estimate(found: Estimate) -> str:
    ends = "" if found.low is None else f" (95% interval {interval(found)})"
    return f"{number(found.mean)}{ends}"


def unconfirmed(report: StudyReport) -> str:
    """Returns why the best trial need not be better than the others; empty without several."""
    if report.chosen is None or report.counts.complete < 2 or report.confirmation is not None:
        return ""
    return (
        "Each trial was trained once, and the best of many is partly luck: whether it is better "
        "than the next ones is not known."
    )


def stopped(report: StudyReport) -> str:
    """Returns what stopping trials early saved."""
    effort, n = report.effort, report.counts.pruned
    if not n:
        none = "No trial was stopped early"
        has_epochs = effort.n_epochs or effort.epochs is not None
        return f"{none}." if has_epochs else f"{none}: the trials have no epochs."
    saving = effort.saving
    if saving is None:
        return (
            f"{trials(n)} of {count(report.counts.finished)} {_were(n)} stopped early. What that "
            "saved is unknown, because only the objective knows how long its trials are."
        )
    text = (
        f"{trials(n)} of {count(report.counts.finished)} {_were(n)} stopped early, after "
        f"{count(saving.n_epochs)} of {count(saving.n_full)} epochs. This saved "
        f"{count(saving.n_saved) if saving.n_saved else 'no'} epochs"
    )
    full = effort.n_epochs + saving.n_saved
    if saving.n_saved:
        text += f", {saving.n_saved / full:.0%} of the {count(full)} that all trials would have had"
    if saving.seconds:
        text += f", or about {duration(saving.seconds)} of training"
    return f"{text}."


def spent(report: StudyReport) -> str:
    """Returns the time of the search."""
    effort = report.effort
    if effort.elapsed_s is None:
        if not effort.trained_s:
            return "How long the search took was not recorded."
        return f"The trials took {duration(effort.trained_s)} together."
    n_workers = sum(place.n_workers for place in effort.places)
    hosts = {place.host for place in effort.places}
    where = "one machine" if len(hosts) == 1 else f"{len(hosts)} machines"
    text = (
        f"The search took {duration(effort.elapsed_s)} with {count(n_workers)} worker "
        f"process{'es' * (n_workers != 1)} on {where}"
    )
    if effort.n_epochs:
        text += f", and trained {count(effort.n_epochs)} epochs"
    return f"{text}."


def occupied(report: StudyReport) -> str:
    """Returns which part of the workers' time was training."""
    effort = report.effort
    busy_s = effort.busy_s
    if busy_s is None:
        return ""
    text = (
        f"Workers lived for {duration(effort.worker_s)} together. About "
        f"{busy_s / effort.worker_s:.0%} of that was training and validation; the rest was "
        "starting, loading data, choosing parameters, saving and waiting."
    )
    if effort.mean_lanes >= 1.05:
        text += f" On average, {effort.mean_lanes:.1f} trials trained together."
    return text


def failures(report: StudyReport) -> str:
    """Returns how many trials failed."""
    n = report.counts.failed
    if not n:
        return "No trial failed."
    share = n / report.counts.finished
    return f"{trials(n)} of {count(report.counts.finished)} failed ({share:.0%})."


def edges(report: StudyReport) -> list[str]:
    """Returns the parameters of the best trial that lie at an end of their range."""
    best, spec = report.chosen, report.subject.spec
    if best is None or spec is None:
        return []
    found = []
    for name in spec.space.names:
        parameter, value = spec.space[name], best.params.get(name)
        if isinstance(parameter, Float | Int) and value in (parameter.low, parameter.high):
            end = "lower" if value == parameter.low else "upper"
            found.append(f"{name_of(name)} ({formatting.param(value)}, the {end} end)")
    return found


def _metric(report: StudyReport) -> str:
    metric = name_of(report.subject.metrics[0])
    spec = report.subject.spec
    on_validation = spec is not None and spec.task is not None
    return f"{metric} on validation data" if on_validation else metric


def _spread(trial: TrialRow) -> float | None:
    spread = trial.user_attrs.get("spread")
    return float(spread) if is_number(spread) else None


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
