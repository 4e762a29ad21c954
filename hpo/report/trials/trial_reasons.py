"""Trial reasons: why a trial was begun, and why it is where it is, as sentences. Pure functions."""

from __future__ import annotations

from hpo.report.text import formatting
from hpo.report.trials.ending_names import reason_name
from hpo.report.trials.failure_places import FailurePlace, place_in
from hpo.report.trials.trial_report import TrialReport
from hpo.store.studies.trial_states import PAUSED, RUNNING, WAITING


def why_begun(report: TrialReport) -> str:
    """Returns why the search began the trial, or where its params come from."""
    if report.retry_of is not None:
        return f"enqueued by `hpo retry`, with the params of trial {report.retry_of}"
    if report.was_enqueued:
        return "enqueued with given params"
    first = next((each for each in report.assignments if not each.epoch), None)
    if first is not None:
        return first.reason
    if report.trial.started_at is None:
        return "it has not begun"
    spec = report.subject.spec
    sampler = "Optuna's sampler" if spec is None else f"the sampler {spec.sampler.name}"
    return f"its params come from {sampler}"


def why_ended(report: TrialReport) -> str:
    """Returns why the trial has ended, or what it waits for."""
    state, epoch = report.trial.state, _epoch(report)
    at = f" at {_unit(report)} {epoch}" if epoch else ""
    if state == RUNNING:
        to = f", up to epoch {report.epoch_stop}" if report.epoch_stop else ""
        return f"it is trained now{to}"
    if state == PAUSED:
        return f"the search has suspended it{at}, and may resume it"
    if state == WAITING:
        begun = report.trial.started_at is not None
        return f"interrupted{at}; any worker can resume it" if begun else "it waits to begin"
    if state == "COMPLETE":
        return "trained to its end"
    return _ending(report, at)


def failure_place(report: TrialReport) -> FailurePlace:
    """Returns exception and place of a trial that failed; both are empty for others."""
    return place_in(report.traceback) if report.traceback else FailurePlace("", "")


def _ending(report: TrialReport, at: str) -> str:
    last = report.last_event
    if last is None:
        return "no reason is recorded"
    message = formatting.last_line(last.message)
    if report.trial.state == "PRUNED" and last.kind == "pruned":
        spec = report.subject.spec
        by = "" if spec is None else f" by the pruner {spec.pruner.name}"
        return f"stopped early{at}" + (f": {message}" if message else by)
    place = failure_place(report).place
    where = f" ({place})" if place and place not in message else ""
    return f"{reason_name(last.kind)}{at}" + (f": {message}{where}" if message else "")


def _epoch(report: TrialReport) -> int:
    return report.epochs[-1].epoch if report.epochs else 0


def _unit(report: TrialReport) -> str:
    return "step" if report.epochs and report.epochs[-1].seconds is None else "epoch"
