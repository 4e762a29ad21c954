"""The command ``hpo replay``: shows the search's decisions and checks them."""

from __future__ import annotations

from typing import Any

import click

from hpo.cli.messages import say
from hpo.cli.options import Command, format_option, storage_option, study_argument
from hpo.cli.output import console, emit
from hpo.errors import HpoError
from hpo.report.study_queries import find
from hpo.report.text.text_tables import TextColumn, by_key
from hpo.store.db.opening import open_database

N_SHOWN = 20
HEADER = (
    *("plan", "at", "worker_id", "trial", "epoch", "epoch_stop", "is_new"),
    *("by", "reason", "method", "seed", "difference"),
)


@click.command(cls=Command)
@study_argument
@storage_option
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Show only this trial.")
@click.option("--check", "checks", is_flag=True, help="Compute the plans again and compare them.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Show the last N; by default {N_SHOWN} in a table and all in json and csv.",
)
@format_option()
def replay(
    name: str | None,
    storage: str | None,
    trial: int | None,
    checks: bool,
    limit: int | None,
    form: str,
) -> None:
    """Show why trials were proposed, started and resumed.

    Workers record the inputs of each plan. With --check each plan is computed again from them, and
    the exit code is 1 if one of them differs. Parameters that one of Optuna's samplers drew are not
    drawn again.
    """
    # It loads PyTorch, which other commands that read a study do not need.
    from hpo.report.decision_report import Replay

    db = open_database(storage)
    subject = find(db, name)
    found = Replay(db, subject.name)
    steps = found.steps(trial)
    if limit is None and form == "table" and trial is None:
        limit = N_SHOWN
    shown = steps if limit is None else steps[-limit:]
    wrong = {plan: found.differences(plan) for plan in {s.plan for s in shown} if checks}
    records = [_record(step, wrong.get(step.plan, {}).get(step.granted.number)) for step in shown]
    if form == "table" and not records:
        of_trial = "" if trial is None else f" of trial {trial}"
        say(f"{subject.name}: no plan{of_trial} is recorded; Optuna's samplers make none")
        return
    emit(form, _columns(checks), records, header=HEADER)
    if form == "table" and len(shown) < len(steps):
        console().print(f" the last {len(shown)} of {len(steps)}; -n shows more", style="dim")
    n_wrong = sum(record["difference"] is not None for record in records)
    if n_wrong:
        raise HpoError(f"{n_wrong} of {len(records)} decisions differ now")
    if checks and form == "table":
        say(f"{len(records)} decisions checked: all are the same")


def _record(step: Any, difference: str | None) -> dict[str, Any]:
    granted = step.granted
    return {
        "plan": step.plan,
        "at": step.at,
        "worker_id": step.worker_id,
        "trial": granted.number,
        "epoch": granted.epoch,
        "epoch_stop": granted.epoch_stop,
        "is_new": granted.is_new,
        "by": granted.note.get("by"),
        "reason": step.reason,
        "method": step.method,
        "seed": step.seed,
        "difference": difference,
    }


def _columns(checks: bool) -> list[TextColumn]:
    columns = [
        by_key("plan", right=True),
        by_key("trial", right=True),
        by_key("epoch", "from", right=True),
        by_key("reason"),
    ]
    return [*columns, by_key("difference")] if checks else columns
