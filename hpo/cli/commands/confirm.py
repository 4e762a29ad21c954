"""The command ``hpo confirm``: trains the best trials of a study again with new seeds."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.text import Text

from hpo.cli.commands.run import exit_unless_done, fork_workers, machine_options_of
from hpo.cli.gc_pause import quickly
from hpo.cli.messages import warn
from hpo.cli.options import Command, format_option, machine_options, storage_option
from hpo.cli.output import console, emit_one, show_lines
from hpo.errors import HpoError, SpecError
from hpo.report import confirmation
from hpo.report.confirmation import Confirmation
from hpo.report.confirmation.estimates import Estimate
from hpo.report.confirmation.seed_results import ConfirmedTrial
from hpo.report.confirmation.selection import best_distinct
from hpo.report.confirmation.verdict import interval, probability
from hpo.report.study_queries import Subject, find
from hpo.report.text import formatting
from hpo.report.text.printable import cell
from hpo.report.text.text_tables import TextColumn, print_table
from hpo.report.trial_pages import TrialRow
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies.trial_states import count_states

MOST_SEEDS: Final = 100
MOST_TRIALS: Final = 20


@click.command(cls=Command)
@click.argument("study")
@click.option(
    "--top",
    type=click.IntRange(min=1, max=MOST_TRIALS),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of trials, the best by the search's value.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=2, max=MOST_SEEDS),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of new seeds, with each of which each trial is trained.",
)
@format_option(("table", "json"))
@storage_option
@machine_options
def confirm(study: str, top: int, seeds: int, form: str, **given: Any) -> None:
    r"""Train the best trials of a study again with new seeds, and compare them.

    STUDY is the name of a study in the database, or its study file. The runs are trials of a
    study of their own, STUDY-confirm. Interrupted, the same command continues it; run again, it
    shows the result. With more --top or --seeds only the runs that are lacking are trained.

    \b
      hpo confirm digits-mlp
      hpo confirm digits-mlp --top 5 --seeds 10
      hpo confirm own.toml -f json
    """
    with quickly():
        db = open_database(given["storage"])
        subject = find(db, _name_of(study))
    rows = _chosen(db, subject, top)
    found = confirmation.read(db, subject)
    if found is None or not _has_all(found, rows, seeds):
        db.dispose()
        _train(study, subject, rows, seeds, given, is_shown=form == "table")
        db = open_database(given["storage"])
        found = confirmation.read(db, find(db, subject.name))
    if found is None:
        raise HpoError(f"{subject.name} has no confirmation: it was deleted meanwhile")
    if not emit_one(form, _record(found)):
        _show(found)


def _name_of(study: str) -> str:
    """Returns the name of a study that is given by its name or its file."""
    if not study.endswith(".toml") and "/" not in study:
        return study
    from hpo.spec import toml

    return str(toml.parse_file(study).table["name"])


def _chosen(db: Database, subject: Subject, top: int) -> list[TrialRow]:
    """Returns the trials to confirm.

    Raises:
        SpecError: The study has several objectives, or is not one of hpo's.
        HpoError: It runs, or has no complete trial.
    """
    if subject.spec is None:
        raise SpecError(f"{subject.name} was not created by hpo, which cannot train its trials")
    if len(subject.directions) > 1:
        raise SpecError(
            f"{subject.name} has several objectives, so its trials have no order",
            hint=f"`hpo best {shlex.quote(subject.name)}` shows its Pareto front",
        )
    with db.read() as conn:
        counts = count_states(conn, db, subject.study_id).get(subject.study_id)
    name = shlex.quote(subject.name)
    if counts is not None and counts.running:
        raise HpoError(
            f"{subject.name} is running, and may find better trials",
            hint=f"confirm it when it is done; `hpo stop {name}` ends it now",
        )
    rows = best_distinct(db, subject, top)
    if not rows:
        raise HpoError(f"{subject.name} has no complete trial yet", hint=f"see `hpo show {name}`")
    if not subject.has_ended:
        warn(f"{subject.name} has not ended: its search may still find better trials")
    return rows


def _has_all(found: Confirmation, rows: Sequence[TrialRow], n_seeds: int) -> bool:
    """Returns whether every wanted run has ended."""
    n_runs = {trial.number: len(trial.runs) for trial in found.trials}
    return not found.n_left and all(n_runs.get(row.number, 0) >= n_seeds for row in rows)


def _train(
    study: str,
    subject: Subject,
    rows: Sequence[TrialRow],
    n_seeds: int,
    given: dict[str, Any],
    *,
    is_shown: bool,
) -> None:
    """Trains the runs that are lacking, on this machine."""
    # PyTorch and Optuna take seconds to load: not to show what is there.
    with quickly():
        from hpo.cli.run_display import follow
        from hpo.run.host.confirming import Plan, start_confirming
        from hpo.run.host.manager import prepare
        from hpo.store.studies import study_records

    options = machine_options_of(given)
    fork_workers(options)
    prepared = prepare(study, options=options)
    options = dataclasses.replace(options, allow=(*options.allow, *prepared.allow))
    db = open_database(options.storage)
    record = study_records.load(db, subject.name)
    if prepared.spec.digest != record.digest:
        raise SpecError(
            f"{study} is not the study {record.name} that is in the database",
            hint=f"`hpo confirm {shlex.quote(record.name)}` takes the study from there",
        )
    plan = Plan(record, {row.number: row.params for row in rows}, n_seeds)
    session = start_confirming(plan, prepared.base_dir, options)
    if is_shown:
        n = len(rows)
        head = f"{n} trial{'s' * (n > 1)} of {cell(record.name, 100)} with {n_seeds} new seeds"
        show_lines([Text(head)])
        end = follow(session, console(), options.storage, is_search=False)
    else:
        end = session.wait()
    exit_unless_done(end, options.storage)
    db.dispose()


def _show(found: Confirmation) -> None:
    out = console()
    out.print()
    print_table(out, _columns(found), [{"trial": trial} for trial in found.trials])
    lines = [Text(), Text(f" {found.sentence}")]
    known = {trial.number for trial in found.trials}
    if found.searched_first not in known:
        again = f"`hpo confirm {shlex.quote(found.of)}` confirms it, too"
        lines.append(Text(f" The search has found trial {found.searched_first} since; {again}."))
    if found.test and found.winner is not None:
        named = [f"{name} {_estimate(one)}" for name, one in found.test.items()]
        lines.append(Text(f" On test data, trial {found.winner.number}: {', '.join(named)}"))
    failed = [run for run in found.runs if run.state == "FAIL"]
    if failed:
        name = shlex.quote(found.study)
        lines.append(Text(f" `hpo show {name}` says why runs failed; `hpo retry {name}` and this"))
        lines[-1].append(" command train them again")
    show_lines(lines, out)


def _columns(found: Confirmation) -> list[TextColumn]:
    compared = {one.number: one for one in found.comparisons}

    def p(row: Any) -> str:
        one = compared.get(row["trial"].number)
        return "" if one is None else probability(one.p)

    def difference(row: Any) -> str:
        one = compared.get(row["trial"].number)
        return "" if one is None else formatting.number(one.test.difference)

    def estimated(write: Any) -> Any:
        return lambda row: "-" if row["trial"].estimate is None else write(row["trial"].estimate)

    return [
        TextColumn("trial", lambda row: str(row["trial"].number), right=True),
        TextColumn("search", lambda row: formatting.number(row["trial"].searched), right=True),
        TextColumn("mean", estimated(lambda one: formatting.number(one.mean)), right=True),
        TextColumn("95% interval", estimated(interval), right=True),
        TextColumn("std", estimated(lambda one: formatting.number(one.std)), True, right=True),
        TextColumn("runs", lambda row: _n_runs(row["trial"]), right=True),
        TextColumn("behind by", difference, True, right=True),
        TextColumn("p", p, right=True),
    ]


def _n_runs(trial: ConfirmedTrial) -> str:
    return f"{len(trial.values)}/{len(trial.runs)}"


def _estimate(one: Estimate) -> str:
    mean = formatting.number(one.mean)
    return mean if one.low is None else f"{mean} (95% interval {interval(one)})"


def _record(found: Confirmation) -> dict[str, Any]:
    compared = {one.number: one for one in found.comparisons}
    return {
        "study": found.of,
        "confirmation": found.study,
        "metric": found.metric,
        "direction": found.direction,
        "is_complete": found.is_complete,
        "is_confirmed": found.is_confirmed,
        "winner": None if found.winner is None else found.winner.number,
        "sentence": found.sentence,
        "seeds": list(found.seeds),
        "test": {name: dataclasses.asdict(one) for name, one in found.test.items()},
        "trials": [
            {
                "number": trial.number,
                "searched": trial.searched,
                "params": dict(trial.params),
                "estimate": None if (one := trial.estimate) is None else dataclasses.asdict(one),
                "runs": [
                    {name: getattr(run, name) for name in ("number", "seed", "state", "value")}
                    for run in trial.runs
                ],
                "behind": _behind(compared.get(trial.number)),
            }
            for trial in found.trials
        ],
    }


def _behind(one: Any) -> dict[str, Any] | None:
    if one is None:
        return None
    return {**dataclasses.asdict(one.test), "p_corrected": one.p}
