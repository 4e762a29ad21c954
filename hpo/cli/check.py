"""``hpo check``: is a study right, does its model train, what would it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpo.cli.options import Command, storage_option
from hpo.cli.output import pairs
from hpo.report import text
from hpo.report.tables import show
from hpo.spec.space import Fixed

if TYPE_CHECKING:
    from hpo.run.preflight import CheckReport
    from hpo.spec.study import StudySpec


@click.command(cls=Command)
@click.argument("study", metavar="STUDY")
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="As for run.")
@storage_option
def check(study: str, device: str, storage: str | None) -> None:
    """Validate a study, build its model, train a batch, and say what the search would cost.

    STUDY is a study file or the name of a study in the database. Nothing is written.
    """
    # PyTorch and Optuna take seconds to load: not for --help, nor for a mistyped option.
    from hpo.run.manager import prepare
    from hpo.run.preflight import check as examine
    from hpo.run.session import RunOptions

    prepared = prepare(study, options=RunOptions(storage=storage, device=device))
    spec = prepared.spec
    report = examine(spec, prepared.base_dir, prepared.allow, device)
    click.echo(f"{spec.name} is right")
    for line in pairs(summary(spec, report)):
        click.echo(line)


def summary(spec: StudySpec, report: CheckReport) -> dict[str, str]:
    """Returns what there is to say about a study that is right, by what it is about."""
    facts = {"task" if spec.task else "objective": report.task}
    facts |= {name.replace("_", " "): show(value) for name, value in report.description.items()}
    if report.n_train:
        samples = (
            ("train on", report.n_train),
            ("validate", report.n_val),
            ("test", report.n_test),
        )
        facts["samples"] = ", ".join(f"{text.count(n)} to {what}" for what, n in samples if n)
    if any(report.n_parameters):
        low, high = (text.count(n) for n in report.n_parameters)
        facts["model"] = f"{low} parameters" if low == high else f"{low} to {high} parameters"
    if report.metrics:
        facts["metrics"] = ", ".join(report.metrics)
    facts["optimises"] = ", ".join(
        f"{direction} {metric}"
        for metric, direction in zip(spec.metrics, spec.directions, strict=True)
    )
    if len(spec.space):
        facts["searches"] = ", ".join(searched(spec)) or "nothing: every parameter is fixed"
    facts["budget"] = ", ".join(
        f"{name.replace('_', ' ')} {value:,}"
        for name, value in spec.budget.model_dump().items()
        if value is not None and (name != "epochs" or spec.task)
    )
    return facts | _cost(report)


def searched(spec: StudySpec) -> list[str]:
    """Returns the names of the parameters that are not fixed."""
    return [name for name in spec.space.names if not isinstance(spec.space[name], Fixed)]


def _cost(report: CheckReport) -> dict[str, str]:
    workers = f"{report.n_workers} worker{'s' * (report.n_workers > 1)}"
    if report.seconds_per_epoch is None:
        return {"would run": f"on {workers}"}
    facts = {"an epoch": f"about {text.duration(report.seconds_per_epoch)} on one worker"}
    if report.upper_s is not None:
        facts["the search"] = f"at most {text.clock(report.upper_s)} on {workers}"
        if report.likely_s is not None and report.likely_s < report.upper_s:
            facts["the search"] += f", likely about {text.clock(report.likely_s)}"
    return facts
