"""Subject checks: mistakes between the sections of a study and what it tunes.

A study has one subject: a task, an objective or a command.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from hpo.errors import did_you_mean
from hpo.spec.command_line import PLACEHOLDERS, Placeholder, parse, parse_word, placeholders
from hpo.spec.report_section import EPOCH, check_groups
from hpo.spec.space.dimensions import Categorical, Fixed, Parameter
from hpo.spec.values.findings import Findings

SUBJECTS: Final = ("task", "objective", "command")

_OF_TASKS: Final[Mapping[str, str]] = {
    "task_options": "takes no options; they are a task's",
    "validation": "splits its data itself; [validation] is for a task",
}
_EXAMPLE: Final = "learning_rate = { low = 1e-4, high = 1e-1, log = true }"


def check_subject(table: Mapping[str, Any], misspelt: Collection[str], findings: Findings) -> None:
    """Records that a study has no subject or several, and what is not for its subject.

    Args:
        table: The content of a study file.
        misspelt: Subjects of which the table has a similar key.
        findings: Collects the mistakes.
    """
    given = [key for key in SUBJECTS if table.get(key) is not None]
    if not given and not misspelt:
        findings.add('missing; name a task such as "digits-mlp", an objective or a command', "task")
    if len(given) > 1:
        listed = " and ".join(given)
        findings.add(f"a study has one of {', '.join(SUBJECTS)}; found {listed}", given[-1])
    elif given == ["objective"] and table.get("task_options"):
        findings.add("an objective takes no options; they are a task's", "task_options")
    elif given == ["command"]:
        for key in _OF_TASKS:
            if table.get(key):
                findings.add(f"a command {_OF_TASKS[key]}", key)
        if table.get("engine") == "fused":
            findings.add("a command trains one trial at a time; fused is for a task", "engine")
    if given and "command" not in given and table.get("report"):
        findings.add(f"is for a command; found {given[0]}", "report")


def check_command(
    table: Mapping[str, Any],
    values: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    names: Sequence[str],
    findings: Findings,
) -> None:
    """Records what a command needs and lacks, and placeholders that have no value.

    Args:
        table: The content of a study file.
        values: Its entries that are valid by themselves.
        parameters: Its parameters that are valid by themselves.
        names: The names of all its parameters.
        findings: Collects the mistakes.
    """
    if table.get("metric") is None:
        findings.add("missing; name what the command reports, such as val_accuracy", "metric")
    if not table.get("space"):
        findings.add(f"missing; a command needs its parameters, such as {_EXAMPLE}", "space")
    for name in names:
        if name in PLACEHOLDERS:
            findings.add(f"is taken: {{{name}}} is {PLACEHOLDERS[name]}", "space", name)
    command = values.get("command")
    if command is not None:
        for one in dict.fromkeys(placeholders(parse(command))):
            _check_placeholder(one, parameters, names, findings.below("command"))
    _check_report(values, parameters, names, findings.below("report"))
    if EPOCH in values.get("metric", ()):
        findings.add("epoch counts the reports; name what is optimised", "metric")


def _check_placeholder(
    one: Placeholder, parameters: Mapping[str, Parameter], names: Sequence[str], findings: Findings
) -> None:
    known = (*names, *PLACEHOLDERS)
    if one.name not in known:
        near = did_you_mean(one.name, known)
        hint = near or (
            f"; there are {', '.join(known)}"
            if one.name.isidentifier()
            else "; literal braces are written {{ and }}"
        )
        findings.add(f"unknown placeholder {{{one.name}}}{hint}")
    elif one.flag is not None and not _is_flag(one.name, parameters):
        findings.add(
            f"{{{one.name}:{one.flag}}} needs a parameter that is true or false: "
            f"{one.name} = {{ choices = [true, false] }}"
        )


def _check_report(
    values: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    names: Sequence[str],
    findings: Findings,
) -> None:
    report = values.get("report", {})
    if "pattern" in report:
        check_groups(report["pattern"], values.get("metric", ()), findings)
    if "csv" in report:
        for one in placeholders([parse_word(report["csv"])]):
            _check_placeholder(one, parameters, names, findings.below("csv"))
            if one.name in parameters and parameters[one.name].when:
                findings.add(f"{one.name} does not apply in every trial", "csv")


def _is_flag(name: str, parameters: Mapping[str, Parameter]) -> bool:
    """Returns whether a parameter is true or false; one with a mistake of its own counts."""
    found = parameters.get(name)
    match found:
        case Categorical():
            return all(isinstance(choice, bool) for choice in found.choices)
        case Fixed():
            return isinstance(found.value, bool)
    return found is None and name not in PLACEHOLDERS
