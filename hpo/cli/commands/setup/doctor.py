"""The command ``hpo doctor``: whether the database and this machine are fit, and what to do."""

from __future__ import annotations

from typing import Final

import click
from rich.text import Text

from hpo.cli.options import Command, format_option, storage_option
from hpo.cli.output import show_lines, write
from hpo.report.health.examination import examine
from hpo.report.health.health_check import HealthCheck, exit_code
from hpo.report.text.printable import cell
from hpo.report.text.text_tables import to_json

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_LONGEST: Final = 400


@click.command(cls=Command)
@storage_option
@click.option(
    "--artifacts",
    metavar="FOLDER",
    help="Folder or object store of checkpoints and models, if it is not the default one.",
)
@format_option(("table", "json"))
def doctor(storage: str | None, artifacts: str | None, form: str) -> None:
    r"""Check the database, its locks and clock, the files, the GPUs, and say what to do.

    It changes nothing. The exit code is 0 unless a check failed: 3 if one of the database did,
    else 1. Warnings do not change it.

    \b
      hpo doctor
      hpo doctor --storage postgresql://lab@db/hpo --artifacts /mnt/shared/hpo
    """
    checks = examine(storage, artifacts)
    code = exit_code(checks)
    if form == "json":
        write(to_json({"exit_code": code, "checks": [vars(check) for check in checks]}) + "\n")
    else:
        show_lines(_lines(checks))
    if code:
        raise click.exceptions.Exit(code)


def _lines(checks: list[HealthCheck]) -> list[Text]:
    lines = []
    width = max(len(check.name) for check in checks)
    for check in checks:
        status = Text(f"{check.status:<9}", style=_STYLES[check.status])
        lines.append(
            Text(f" {check.name:<{width}}  ") + status + Text(cell(check.message, _LONGEST))
        )
        if check.advice:
            lines.append(Text(f" {'':<{width}}  {'':<9}→ {cell(check.advice, _LONGEST)}"))
    n = {status: sum(check.status == status for check in checks) for status in _STYLES}
    plural = "s" * (n["warning"] != 1)
    lines.append(Text(f"{n['failed']} failed, {n['warning']} warning{plural}, {n['ok']} ok"))
    return lines
