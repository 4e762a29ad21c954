"""Trial page: the lines and records that ``hpo show --trial`` writes. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from hpo.cli import endings_view
from hpo.cli.output import pairs
from hpo.report.text import formatting
from hpo.report.text.printable import cell
from hpo.report.text.text_tables import STATE_STYLES, TextColumn, by_key, exact, show
from hpo.report.trials.trial_reasons import failure_place, why_begun, why_ended
from hpo.report.trials.trial_report import Epoch, TrialReport, TrialWorker

WIDEST_NAME = 100
N_EPOCHS = 20
"""Maximum number of epochs in the table of a terminal."""
N_HISTORY = 20


def sheet(report: TrialReport) -> list[Text]:
    """Returns the lines above the learning curve."""
    trial, subject = report.trial, report.subject
    head = Text(f"{cell(subject.name, WIDEST_NAME)} · trial {trial.number} · ", style="bold")
    head.append(trial.state, style=STATE_STYLES.get(trial.state, ""))
    lines = [head, *_pairs(_facts(report))]
    params = {name: _exactly(value) for name, value in trial.params.items()}
    metrics = {name: formatting.number(value) for name, value in trial.metrics.items()}
    attrs = {name: show(value) for name, value in own_attrs(report).items()}
    for title, entries in (("params", params), ("metrics", metrics), ("attributes", attrs)):
        if entries:
            at = f" at epoch {trial.epoch}" if title == "metrics" and trial.epoch else ""
            lines += [Text(), Text(title + at, style="bold"), *_pairs(entries)]
    return lines


def curve(report: TrialReport) -> tuple[list[TextColumn], list[dict[str, Any]]]:
    """Returns columns and rows of the learning curve, of at most `N_EPOCHS` epochs."""
    names = dict.fromkeys(name for epoch in report.epochs for name in epoch.metrics)
    shown = [name for name in names if not name.startswith("test_")]
    # The objective stays on a narrow terminal.
    first = [name for name in report.subject.metrics if name in shown]
    columns = [by_key("epoch", right=True)]
    columns += [_metric(name, name in first) for name in dict.fromkeys([*first, *shown])]
    if any(epoch.learning_rate is not None for epoch in report.epochs):
        columns.append(by_key("learning_rate", "rate", optional=True, right=True))
    if any(epoch.seconds is not None for epoch in report.epochs):
        columns.append(
            TextColumn("time", lambda row: formatting.duration(row["seconds"]), True, True)
        )
    if len({epoch.attempt for epoch in report.epochs}) > 1:
        columns.append(by_key("attempt", right=True))
    return columns, [_epoch(epoch) for epoch in _some(report)]


def history(report: TrialReport) -> list[Text]:
    """Returns the assignments and events of the trial, oldest first."""
    workers = {worker.worker_id: worker for worker in report.workers}
    entries = [(a.at, "assigned", a.reason, a.worker_id) for a in report.assignments]
    entries += [(e.at, e.kind, e.message, e.worker_id) for e in report.events]
    entries.sort(key=lambda entry: entry[0])
    lines = [
        f" {formatting.ago(at, report.now):<10}  {cell(kind, 32):<11}  "
        f"{_on(workers.get(worker_id or 0))}{endings_view.brief(message)}".rstrip()
        for at, kind, message, worker_id in entries[-N_HISTORY:]
    ]
    if len(entries) > N_HISTORY:
        lines.insert(0, f" {len(entries) - N_HISTORY} before these: -f json")
    return [Text(), Text("history", style="bold"), *map(Text, lines)] if lines else []


def record(report: TrialReport) -> dict[str, Any]:
    """Returns the page as a record; its keys are always the same."""
    trial, subject, place = report.trial, report.subject, failure_place(report)
    return {
        "study": subject.name,
        "number": trial.number,
        "state": trial.state,
        "metric": list(subject.metrics),
        "direction": list(subject.directions),
        "values": list(trial.values or ()),
        "epoch": trial.epoch,
        "n_epochs": trial.n_epochs,
        "best_epoch": trial.best_epoch,
        "why_begun": why_begun(report),
        "why_ended": why_ended(report),
        "reason": trial.reason,
        "exception": place.exception or None,
        "place": place.place or None,
        "traceback": report.traceback,
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "duration_s": trial.duration_s,
        "trained_s": report.trained_s,
        "attempt": report.attempt,
        "retry_of": report.retry_of,
        "params": dict(trial.params),
        "metrics": dict(trial.metrics),
        "user_attrs": own_attrs(report),
        "curve": [epoch._asdict() for epoch in report.epochs],
        "workers": [worker._asdict() for worker in report.workers],
        "assignments": [assignment._asdict() for assignment in report.assignments],
        "events": [event._asdict() for event in report.events],
    }


def own_attrs(report: TrialReport) -> dict[str, Any]:
    """Returns the user attributes without the test metrics, which would invite choosing by them."""
    test = report.trial.test
    return {name: value for name, value in report.trial.user_attrs.items() if name not in test}


def _facts(report: TrialReport) -> dict[str, str]:
    trial, subject = report.trial, report.subject
    facts = {}
    if trial.values:
        values = map(formatting.number, trial.values)
        named = (f"{name} {value}" for name, value in zip(subject.metrics, values, strict=False))
        at = f" at epoch {trial.epoch}" if trial.epoch else ""
        facts["value"] = ", ".join(named) + at
    begun = "" if trial.started_at is None else f"{formatting.ago(trial.started_at, report.now)}; "
    facts["begun"] = begun + why_begun(report).removeprefix("begun ")
    ended = "" if trial.ended_at is None else f"{formatting.ago(trial.ended_at, report.now)}; "
    facts["ended" if ended else "now"] = ended + endings_view.brief(why_ended(report))
    if report.epochs:
        best = trial.best_epoch
        budget = None if subject.spec is None or subject.spec.objective else subject.spec.budget
        of = "" if budget is None else f" of at most {formatting.count(budget.epochs)}"
        facts["epochs"] = f"{len(report.epochs)}{of}" + (f", best is {best}" if best else "")
    facts |= _times(report)
    if report.workers:
        shown = (f"{worker} on {worker.device}" for worker in report.workers)
        facts["workers"] = ", ".join(shown)
    return facts


def _times(report: TrialReport) -> dict[str, str]:
    trial = report.trial
    parts = []
    if report.trained_s is not None:
        parts.append(f"{formatting.duration(report.trained_s)} of training")
    if trial.duration_s is not None:
        parts.append(f"{formatting.duration(trial.duration_s)} from its beginning to its end")
    if report.attempt is not None and report.attempt > 1:
        parts.append(f"attempt {report.attempt}: a worker was lost {report.attempt - 1} times")
    return {"time": ", ".join(parts)} if parts else {}


def _some(report: TrialReport) -> list[Epoch]:
    """Returns epochs evenly spaced over the curve, with the first, the best and the last."""
    epochs = report.epochs
    if len(epochs) <= N_EPOCHS:
        return list(epochs)
    gap = (len(epochs) - 1) / (N_EPOCHS - 2)
    kept = {round(i * gap) for i in range(N_EPOCHS - 1)}
    best = report.trial.best_epoch
    return [each for i, each in enumerate(epochs) if i in kept or each.epoch == best]


def _metric(name: str, is_objective: bool) -> TextColumn:
    return TextColumn(name, lambda row: show(row["metrics"].get(name)), not is_objective, True)


def _epoch(epoch: Epoch) -> dict[str, Any]:
    return epoch._asdict()


def _on(worker: TrialWorker | None) -> str:
    return "" if worker is None else f"{cell(str(worker), 60)}  "


def _pairs(entries: dict[str, str]) -> Iterable[Text]:
    return map(Text, pairs(entries))


def _exactly(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(exact(value))
