"""The commands ``hpo run`` and ``hpo worker``: work on a study on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hpo.cli.gc_pause import quickly
from hpo.cli.messages import complain, say
from hpo.cli.options import (
    Command,
    NearestChoice,
    complete_study,
    complete_study_or_file,
    machine_options,
    raise_if_unreadable,
    set_option,
    storage_option,
)
from hpo.errors import HpoError, SpecError, StoreError
from hpo.report.text.formatting import limit
from hpo.spec.dotted_entries import read_entries
from hpo.spec.methods import METHODS

if TYPE_CHECKING:
    from hpo.run.host.session import RunEnd, RunOptions
    from hpo.spec.study_spec import Budget
    from hpo.store.studies.study_records import StudyRecord

BUDGET = "Override the study file's"
_WORDS: Final = "command"


class RunCommand(Command):
    """A command whose line may end with another command, after ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keeps what follows ``--`` apart, and parses the rest."""
        own = args.index("--") if "--" in args else len(args)
        ctx.meta[_WORDS] = tuple(args[own + 1 :])
        return super().parse_args(ctx, args[:own])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Returns the parts of the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command(cls=RunCommand)
@click.argument("study", metavar="[STUDY]", required=False, shell_complete=complete_study_or_file)
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help=f"{BUDGET} trials.")
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="N", help=f"{BUDGET} epochs per trial."
)
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), metavar="H", help=f"{BUDGET} hours."
)
@click.option(
    "--trial-hours",
    type=click.FloatRange(min=0, min_open=True),
    metavar="H",
    help=f"{BUDGET} hours per trial.",
)
@click.option("--target", type=float, metavar="VALUE", help=f"{BUDGET} target value.")
@click.option("--patience", type=click.IntRange(min=1), metavar="N", help=f"{BUDGET} patience.")
@click.option("--objective", metavar="FILE.py:FUNCTION", help="Run an Optuna objective unchanged.")
@click.option(
    "--pattern",
    metavar="REGEX",
    help="How a command's output holds its metrics: 'acc=(?P<val_accuracy>[0-9.]+)'.",
)
@click.option(
    "--csv", metavar="FILE", help="Where a command writes its metrics, in the trial's folder."
)
@click.option("--name", help="Name of the study.")
@click.option("--metric", multiple=True, help="Metric to optimise; repeat it for several.")
@click.option(
    "--direction",
    type=NearestChoice(("minimize", "maximize")),
    multiple=True,
    help="Direction: once for each value of an objective; Optuna's default is minimize.",
)
@click.option(
    "--sampler",
    type=NearestChoice(tuple(METHODS["sampler"])),
    help="Sampler, which proposes the parameters.",
)
@click.option(
    "--pruner",
    type=NearestChoice(tuple(METHODS["pruner"])),
    help="Pruner, which pauses or stops trials.",
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of all random numbers.")
@set_option
@storage_option
@machine_options
def run(study: str | None, objective: str | None, **given: Any) -> None:
    r"""Tune a study: create it, join it, or resume it.

    STUDY is a study file or the name of a study in the database. In place of it, a COMMAND trains
    one trial; ranges stand in it for values:

    \b
      hpo run --metric val_accuracy --trials 40 --pattern 'acc (?P<val_accuracy>[0-9.]+)' \
        -- python train.py --lr '~log(1e-4, 1e-1)' --dropout '~uniform(0, 0.5)' \
        --layers '~int(1, 4)' --batch-size '~choice(32, 64)' --nesterov '~flag'
    """
    command: tuple[str, ...] = click.get_current_context().meta[_WORDS]
    if study is not None and objective is not None:
        raise SpecError("give a study or --objective, not both")
    if command and (study is not None or objective is not None):
        other = f"the study {study}" if study is not None else "--objective"
        raise SpecError(f"give {other} or a command after --, not both")
    is_there = bool(command) or _is_there(study, objective, given["storage"])
    # PyTorch and Optuna take seconds to load: not for --help, nor for a mistyped option.
    with quickly():
        from hpo.run.host.manager import prepare
        from hpo.run.host.session_start import start
        from hpo.store.rows import events

    options = machine_options_of(given)
    if is_there:
        fork_workers(options)
    prepared = prepare(
        study,
        objective=objective,
        command=command,
        overrides=_overrides(given),
        options=options,
    )
    for line in prepared.remarks:
        say(line)
    options = _with(options, prepared)
    session = start(prepared.spec, prepared.base_dir, options, by_name=prepared.by_name)
    events.keep_notices(session.db, session.study.study_id, prepared.notices)
    _tell_kept_budget(prepared.spec.budget, session.study)
    _tell_loggers(options)
    _follow(session, options.storage)


@click.command(cls=Command)
@click.argument("name", metavar="[STUDY]", required=False, shell_complete=complete_study)
@storage_option
@machine_options
def worker(name: str | None, **given: Any) -> None:
    """Join a study that another machine has created.

    STUDY is its name; it may be left out when the database holds only one.
    """
    with quickly():
        from hpo.report.study_queries import find
        from hpo.store.db.opening import open_database
        from hpo.store.studies import study_records

    # It is closed before processes are forked.
    try:
        db = open_database(given["storage"])
    except StoreError:
        if name is not None:
            study_records.refuse_optunas_own(given["storage"], name)
        raise
    name = find(db).name if name is None else study_records.load(db, name).name
    db.dispose()
    with quickly():
        from hpo.run.host.session_start import attach

    options = machine_options_of(given)
    fork_workers(options)
    session = attach(name, options)
    _tell_loggers(options)
    _follow(session, options.storage)


def _is_there(study: str | None, objective: str | None, storage: str | None) -> bool:
    """Returns whether the study to run exists; without it, forking workers is useless."""
    from hpo.spec import ready_made

    if objective is not None:
        file, _, _ = objective.rpartition(":")
        return not file.endswith(".py") or _is_file(file)
    if study is None:
        return False
    if study.endswith(".toml") or "/" in study or _is_file(study):
        return _is_file(study)
    if ready_made.find(study) is not None:
        return True
    from hpo.report.study_queries import find
    from hpo.store.db.opening import open_database

    try:
        db = open_database(storage)
        find(db, study)
    except HpoError:
        return False
    db.dispose()
    return True


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        # No file can have this name.
        return False


def fork_workers(options: RunOptions) -> None:
    """Forks the workers before opening or computing anything; they wait for the study."""
    from hpo.run.host import prefork
    from hpo.run.host.placement import plan

    with quickly():
        if prefork.can_fork(options.device):
            click.get_current_context().call_on_close(prefork.drain)
            prefork.fill(len(plan(options.device, options.workers, options.resources)))


def _follow(session: Any, storage: str | None) -> None:
    from hpo.cli.output import console
    from hpo.cli.run_display import follow

    exit_unless_done(follow(session, console(), storage), storage)


def exit_unless_done(end: RunEnd, storage: str | None) -> None:
    """Reports why a session has ended, and exits with its code unless that is 0."""
    if end.reason == "failed":
        # A row that workers cannot read is not their error.
        raise_if_unreadable(storage)
    if end.reason == "failed" or end.exit_code == 1:
        message, *details = end.message.split("\n")
        complain(message, end.hint, details)
    if end.exit_code:
        raise click.exceptions.Exit(end.exit_code)


def _tell_loggers(options: Any) -> None:
    """Says where this machine logs to, without secrets."""
    if options.loggers:
        say(f"logging to {', '.join(choice.shown for choice in options.loggers)}")


def _tell_kept_budget(given: Budget, study: StudyRecord) -> None:
    """Notes that the budget differs from this command's, because it was updated since."""
    kept = [
        f"{name.replace('_', ' ')} {limit(held)} (not {limit(asked)})"
        for name, held in study.budget
        if held != (asked := getattr(given, name))
    ]
    if kept:
        say(f"{study.name} keeps the budget that `hpo update` gave it: {', '.join(kept)}")


def machine_options_of(given: Mapping[str, Any]) -> RunOptions:
    """Returns what the options of this machine say."""
    from hpo.run.host.session import RunOptions
    from hpo.spec import logger_choices
    from hpo.spec.sections import ResourceSpec

    resources = {name: given[name] for name in ResourceSpec.model_fields}
    return RunOptions(
        storage=given["storage"],
        workers=given["workers"],
        device=given["device"],
        artifacts=given["artifacts"],
        allow=tuple(given["allow"]),
        resources=ResourceSpec(**resources),
        loggers=logger_choices.merged(
            logger_choices.read_options(given["log"]), logger_choices.of_environment()
        ),
    )


def _with(options: Any, prepared: Any) -> Any:
    """Adds what a study's file allows and names."""
    from hpo.spec import logger_choices

    return dataclasses.replace(
        options,
        allow=(*options.allow, *prepared.allow),
        loggers=logger_choices.merged(options.loggers, prepared.loggers),
    )


def _overrides(given: dict[str, Any]) -> dict[str, Any]:
    budget = ("trials", "epochs", "hours", "trial_hours", "target", "patience")
    names = (*budget, "name", "sampler", "pruner", "seed")
    overrides = read_entries(given["entries"])
    overrides |= {name: given[name] for name in names if given[name] is not None}
    for name in ("metric", "direction"):
        if given[name]:
            overrides[name] = given[name][0] if len(given[name]) == 1 else list(given[name])
    report = {name: given[name] for name in ("pattern", "csv") if given[name] is not None}
    if report:
        also = overrides.get("report", {})
        overrides["report"] = {**also, **report} if isinstance(also, dict) else report
    return overrides
