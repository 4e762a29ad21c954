"""Report section: how hpo reads what a command reports, by a pattern over its output or a CSV."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hpo.errors import did_you_mean
from hpo.spec.command_line import parse_word
from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import Text, ValueKind, WordOrFlag, read_table, wrong

EPOCH: Final = "epoch"
"""The group of a pattern, or the column of a CSV, that counts epochs from 1."""

_LONGEST: Final = 2_000


class Pattern:
    """The kind of a pattern: a regular expression of one line with named groups."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the pattern, or ``WRONG``."""
        if not isinstance(value, str) or not value:
            return wrong(findings, f"must be a regular expression; found {show(value)}")
        if len(value) > _LONGEST:
            return wrong(findings, f"must be at most {_LONGEST:,} characters long")
        try:
            groups = groups_of(value)
        except (re.error, RecursionError, OverflowError) as error:
            return wrong(findings, f"is not a regular expression: {error}")
        if not set(groups) - {EPOCH}:
            return wrong(findings, "needs a named group for the metric, (?P<NAME>[-+.e0-9]+)")
        return value


class ReportPath:
    """The kind of a path in the folder of a trial, which may have placeholders."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the path, or ``WRONG``."""
        text = Text().read(value, findings)
        if isinstance(text, str):
            try:
                parse_word(text)
            except ValueError as error:
                return wrong(findings, str(error))
        return text


REPORT: Final[Mapping[str, ValueKind]] = {
    "pattern": Pattern(),
    "csv": ReportPath(),
    "resumes": WordOrFlag("auto"),
}


def read_report(table: Any, findings: Findings) -> dict[str, Any]:
    """Reads how a command reports."""
    values = read_table(table, REPORT, findings)
    if "pattern" in values and "csv" in values:
        findings.add("the epochs come from the pattern or from the CSV, not from both", "csv")
    return values


def groups_of(pattern: str) -> tuple[str, ...]:
    """Returns the names of a pattern's groups in their order.

    Raises:
        re.error: It is not a regular expression.
    """
    with warnings.catch_warnings():
        # What may mean something else in a later version of Python is still a pattern.
        warnings.simplefilter("ignore")
        return tuple(re.compile(pattern).groupindex)


def group_of(metric: str) -> str:
    """Returns the group of a pattern that holds a metric: ``val_loss`` for ``val/loss``."""
    name = "".join(c if f"_{c}".isidentifier() else "_" for c in metric)
    return name if name.isidentifier() else f"_{name}"


def check_groups(pattern: str, metrics: Sequence[str], findings: Findings) -> None:
    """Records metrics that a pattern does not find."""
    groups = [group for group in groups_of(pattern) if group != EPOCH]
    for metric in metrics:
        group = group_of(metric)
        if group not in groups:
            near = did_you_mean(group, groups)
            also = f"{near[:-1]} in the pattern?" if near else f"; it has {', '.join(groups)}"
            findings.add(f"has no group (?P<{group}>...) for the metric{also}", "pattern")
