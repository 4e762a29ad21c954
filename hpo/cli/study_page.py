"""Study page: the lines and records that ``hpo show`` writes of an overview. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from hpo.cli import endings_view
from hpo.cli.output import pairs
from hpo.report.overview import EventRow, Overview, describe
from hpo.report.study_queries import Subject
from hpo.report.text import formatting
from hpo.report.text.printable import cell
from hpo.report.text.text_tables import STATE_STYLES
from hpo.search.base.auto import AUTO, choose
from hpo.spec.study_spec import StudySpec
from hpo.store.rows.stack_statistics import Usage

LONGEST_KIND = 32
WIDEST_NAME = 100


def sheet(page: Overview, where: str) -> list[Text]:
    """Returns the lines of the page."""
    subject = page.subject
    head = Text(f"{cell(subject.name, WIDEST_NAME)} · ", style="bold")
    head.append(cell(subject.state, LONGEST_KIND), style=STATE_STYLES.get(subject.state, ""))
    head.append(f" · {where}", style="not bold")
    if subject.reason:
        head.append(f" · {endings_view.brief(subject.reason)}", style="not bold")
    lines = [head, *_section("", _facts(page))]
    if subject.spec is not None and len(subject.spec.space):
        space = subject.spec.space
        lines += _section("space", {name: describe(space[name]) for name in space.names})
    for title, state in (("failed", "FAIL"), ("ended early", "PRUNED")):
        found = [ending for ending in page.endings if ending.state == state]
        if found:
            lines += _section(
                title, [line for ending in found for line in endings_view.lines(ending)]
            )
    failed = next((ending for ending in page.endings if ending.state == "FAIL"), None)
    if failed is not None:
        how = f"hpo show {cell(subject.name, WIDEST_NAME)} --trial {failed.number}"
        lines.append(Text(f" why, in full: {how}", style="dim"))
    if page.notices:
        lines += _section("data", {str(i): text for i, text in enumerate(page.notices, 1)})
    if page.alone:
        lines += _section("alone", [("", why) for why in page.alone])
    if page.workers:
        lines += _section(
            "workers",
            {
                f"{worker.host}:{worker.pid}": f"{worker.device}, last heartbeat "
                f"{formatting.ago(worker.heartbeat_at, page.now)}"
                for worker in page.workers
            },
        )
    if page.events:
        lines += [Text(), Text("events", style="bold")]
        lines += [Text(line) for event in page.events for line in _event(event, page)]
    return lines


def record(page: Overview) -> dict[str, Any]:
    """Returns the page as a record; its keys are always the same."""
    subject = page.subject
    return {
        "name": subject.name,
        "state": subject.state,
        "reason": subject.reason,
        "metric": list(subject.metrics),
        "direction": list(subject.directions),
        "spec": None if subject.spec is None else subject.spec.to_table(),
        "trials": {**vars(page.counts), "finished": page.counts.finished},
        "n_trials": subject.n_trials,
        "n_epochs": page.n_epochs,
        "deadline_at": subject.deadline_at,
        "best": None
        if page.best is None
        else {name: getattr(page.best, name) for name in ("number", "state", "value", "epoch")},
        "outlook": None
        if page.outlook is None
        else {"chance": page.outlook.chance, "gain": page.outlook.gain},
        "learnt_from": None if page.learnt_from is None else list(page.learnt_from),
        "notices": list(page.notices),
        "endings": [dataclasses.asdict(ending) for ending in page.endings],
        "engine": {**vars(page.usage), "mean_lanes": page.usage.mean, "alone": list(page.alone)},
        "workers": [dataclasses.asdict(worker) for worker in page.workers],
        "events": [vars(event) for event in page.events],
        "created_at": subject.created_at,
    }


def _section(title: str, entries: Mapping[str, str] | Sequence[tuple[str, str]]) -> list[Text]:
    head = [Text(), Text(title, style="bold")] if title else []
    return [*head, *(Text(line) for line in pairs(entries))]


def _facts(page: Overview) -> dict[str, str]:
    subject, counts = page.subject, page.counts
    facts: dict[str, str] = {}
    if subject.spec is not None:
        facts |= _method(subject.spec)
        if page.learnt_from is not None:
            names = ", ".join(page.learnt_from)
            facts["learnt from"] = names or "no other study: none is similar and complete"
        if subject.spec.task is not None:
            facts["engine"] = engine(subject.spec.engine, page.usage)
    facts["optimises"] = ", ".join(
        f"{direction} {metric}"
        for metric, direction in zip(subject.metrics, subject.directions, strict=True)
    )
    states = [f"{formatting.count(n)} {name}" for name, n in vars(counts).items() if n]
    done = formatting.trials(counts.finished, subject.n_trials, subject.budget, of=" of ")
    facts["trials"] = done + (f": {', '.join(states)}" if states else "")
    if subject.spec is not None and subject.spec.declares_epochs:
        facts["epochs"] = f"{formatting.count(page.n_epochs)}{_epoch_budget(subject.spec)}"
    facts |= _ends(subject)
    if page.outlook is not None:
        facts["outlook"] = str(page.outlook)
    if page.best is not None:
        best, spread = page.best, page.best.user_attrs.get("spread")
        stopped = "" if best.is_complete else ", stopped early: no trial was trained to the end"
        facts["best"] = (
            f"{formatting.with_spread(best.value, spread)} (trial {best.number}{stopped})"
        )
    if subject.created_at is not None:
        facts["created"] = formatting.ago(subject.created_at, page.now)
    return facts


def _ends(subject: Subject) -> dict[str, str]:
    """Returns the limits that end the study other than trials and epochs."""
    found = {}
    if subject.deadline_at is not None:
        found["deadline"] = f"{subject.deadline_at:%Y-%m-%d %H:%M} UTC"
    if subject.spec is not None and subject.spec.budget.target is not None:
        found["target"] = formatting.number(subject.spec.budget.target)
    if subject.spec is not None and subject.spec.budget.patience is not None:
        found["patience"] = f"{formatting.count(subject.spec.budget.patience)} trials in a row"
    return found


def _method(spec: StudySpec) -> dict[str, str]:
    what: dict[str, str] = {spec.kind: spec.reference}
    options = [f"{name} = {value}" for name, value in spec.task_options.items()]
    if options:
        what["task options"] = ", ".join(options)
    if of_parts := parts(spec):
        what["a trial"] = of_parts
    if needs := str(spec.resources):
        what["resources"] = f"{needs} a trial"
    choice = choose(spec, can_pause=spec.objective is None)
    if choice.reason:
        sampler = "" if choice.sampler == AUTO else f" with {choice.sampler}"
        what["auto"] = f"{choice.scheduler}{sampler}: {choice.reason}"
    return {
        **{name: str(value) for name, value in what.items()},
        "sampler": _named(spec.sampler.name, spec.sampler.options),
        "pruner": _named(spec.pruner.name, spec.pruner.options),
    }


def parts(spec: StudySpec) -> str:
    """Returns which models a trial trains, or an empty string for a single one."""
    counts = {"fold": spec.validation.folds or 1, "seed": spec.validation.seeds}
    each = [f"{formatting.count(n)} {what}s" for what, n in counts.items() if n > 1]
    n_models = formatting.count(spec.validation.n_parts)
    return f"{n_models} models: {' and '.join(each)}, tested together" if each else ""


def engine(name: str, usage: Usage) -> str:
    """Returns the engine, its number of lanes, and how full its stacks were."""
    if not usage.stack_epochs:
        return name
    now = (
        f"{formatting.count(usage.lanes)} lane{'s' * (usage.lanes != 1)} now, "
        if usage.lanes
        else ""
    )
    return f"{name}: {now}{usage.mean:.1f} lanes per stack on average"


def _named(name: str, options: dict[str, Any]) -> str:
    given = ", ".join(f"{key} = {value}" for key, value in options.items())
    return f"{name} ({given})" if given else name


def _epoch_budget(spec: StudySpec) -> str:
    budget = spec.budget
    total = "" if budget.total_epochs is None else f" of {formatting.count(budget.total_epochs)}"
    hours = "" if budget.trial_hours is None else f" and {budget.trial_hours:g} hours"
    return f"{total}; at most {budget.epochs}{hours} per trial"


def _event(event: EventRow, page: Overview) -> list[str]:
    trial = "" if event.number is None else f"  trial {event.number}"
    message = endings_view.brief(event.message)
    head = f" {formatting.ago(event.at, page.now):<10}  {cell(event.kind, LONGEST_KIND):<11}{trial}"
    return [f"{head}  {message}".rstrip()]
