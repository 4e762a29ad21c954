"""The command ``hpo check``: validates a study, trains a batch and estimates the cost."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from hpo.cli.messages import say, warn
from hpo.cli.options import Command, complete_study_or_file, set_option, storage_option
from hpo.cli.output import pairs
from hpo.cli.study_page import parts
from hpo.report.text import formatting
from hpo.report.text.text_tables import show
from hpo.spec.dotted_entries import read_entries
from hpo.spec.space.search_space import Fixed

_MAX_LISTED: Final = 12

if TYPE_CHECKING:
    from hpo.run.host.study_preflight import CheckReport
    from hpo.spec.study_spec import StudySpec


@click.command(cls=Command)
@click.argument("study", metavar="STUDY", shell_complete=complete_study_or_file)
@click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help="As for hpo run."
)
@set_option
@storage_option
def check(study: str, device: str, entries: Sequence[str], storage: str | None) -> None:
    """Validate a study, build its model, train a batch, and estimate the cost of the search.

    STUDY is a study file or the name of a study in the database. Nothing is written.
    """
    # PyTorch and Optuna take seconds to load: not for --help, nor for a mistyped option.
    from hpo.run.host.manager import prepare
    from hpo.run.host.session import RunOptions
    from hpo.run.host.study_preflight import check as examine

    options = RunOptions(storage=storage, device=device)
    prepared = prepare(study, overrides=read_entries(entries), options=options)
    spec = prepared.spec
    report = examine(spec, prepared.base_dir, prepared.allow, device)
    say(f"{spec.name} is valid")
    for line in _lines(summary(spec, report)):
        say(line)
    if spec.command is not None:
        _warn_of_unseen(spec)


def _warn_of_unseen(spec: StudySpec) -> None:
    """Warns of a command that shows its script none of the parameters."""
    from hpo.run.host.command_preflight import unseen

    names = unseen(spec)
    if names:
        warn(
            f"the command names neither {', '.join(names)} nor {{params_file}}: the script finds "
            f"its parameters only in the environment, such as HPO_PARAM_{names[0].upper()}"
        )


def summary(spec: StudySpec, report: CheckReport) -> dict[str, str]:
    """Returns facts about a valid study by their labels."""
    facts: dict[str, str] = {spec.kind: report.task}
    facts |= {
        name.replace("n_", "").replace("_", " "): listed(value)
        for name, value in report.description.items()
        if value or value == 0
    }
    if report.n_train:
        samples = (
            ("train on", report.n_train),
            ("validate", report.n_val),
            ("test", report.n_test),
        )
        facts["samples"] = ", ".join(f"{formatting.count(n)} to {what}" for what, n in samples if n)
    if of_parts := parts(spec):
        facts["a trial"] = of_parts
    if any(report.n_parameters):
        low, high = (formatting.count(n) for n in report.n_parameters)
        one = f"{low} parameter{'s' * (low != '1')}"
        facts["model"] = one if low == high else f"{low} to {high} parameters"
    if report.metrics:
        facts["metrics"] = ", ".join(report.metrics)
    facts["optimises"] = ", ".join(
        f"{direction} {metric}"
        for metric, direction in zip(spec.metrics, spec.directions, strict=True)
    )
    if len(spec.space):
        facts["searches"] = ", ".join(searched(spec)) or "nothing: every parameter is fixed"
    facts["budget"] = _budget(spec)
    if needs := str(spec.resources):
        facts["resources"] = f"{needs} a trial"
    return facts | _cost(report)


def listed(value: Any) -> str:
    """Writes a task's description: lists and tables as text, long ones shortened."""
    if isinstance(value, Mapping):
        entries = [f"{name} ({show(entry)})" for name, entry in value.items()]
    elif isinstance(value, list | tuple):
        entries = [show(entry) for entry in value]
    elif isinstance(value, int) and not isinstance(value, bool):
        return formatting.count(value)
    else:
        return show(value)
    n_more = len(entries) - _MAX_LISTED
    if n_more > 1:
        entries = [*entries[:_MAX_LISTED], f"and {formatting.count(n_more)} more"]
    return ", ".join(entries)


def _lines(facts: dict[str, str]) -> list[str]:
    """Writes one fact per line; in a terminal, long ones are wrapped and indented."""
    if not sys.stdout.isatty():
        return pairs(facts)
    width = shutil.get_terminal_size().columns
    indent = max(map(len, facts)) + 3
    return [
        part
        for line in pairs(facts)
        for part in textwrap.wrap(line, max(width, 2 * indent), subsequent_indent=" " * indent)
    ]


def searched(spec: StudySpec) -> list[str]:
    """Returns the names of the parameters that are not fixed."""
    return [name for name in spec.space.names if not isinstance(spec.space[name], Fixed)]


def _budget(spec: StudySpec) -> str:
    budget = spec.budget
    parts = []
    if budget.trials is not None:
        parts.append(f"{formatting.count(budget.trials)} trial{'s' * (budget.trials != 1)}")
    if spec.declares_epochs:
        parts.append(f"at most {budget.epochs} epoch{'s' * (budget.epochs != 1)} each")
    if budget.total_epochs is not None:
        parts.append(f"{formatting.count(budget.total_epochs)} epochs in total")
    if budget.hours is not None:
        parts.append(f"{budget.hours:g} hour{'s' * (budget.hours != 1)}")
    if budget.trial_hours is not None:
        parts.append(f"at most {budget.trial_hours:g} hours per trial")
    if budget.target is not None:
        parts.append(f"until {spec.metrics[0]} is {formatting.number(budget.target)}")
    if budget.patience is not None:
        parts.append(
            f"until {formatting.count(budget.patience)} in a row do not improve the best value"
        )
    return ", ".join(parts)


def _cost(report: CheckReport) -> dict[str, str]:
    workers = f"{report.n_workers} worker{'s' * (report.n_workers > 1)}"
    if report.seconds_per_epoch is None:
        return {"would run": f"on {workers}"}
    facts = {"an epoch": f"about {formatting.duration(report.seconds_per_epoch)} on one worker"}
    if report.upper_s is not None:
        facts["the search"] = f"at most {_roughly(report.upper_s)} on {workers}"
        if report.likely_s is not None and report.likely_s < report.upper_s:
            facts["the search"] += f", likely about {_roughly(report.likely_s)}"
        facts["the search"] += ", plus a few seconds to start"
    return facts


def _roughly(seconds: float) -> str:
    return "a second" if seconds < 2 else formatting.duration(float(round(seconds)))
