"""Parsing of study tables: checked values, or all mistakes of all sections at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hpo.errors import nearest
from hpo.spec.command_line import CommandText
from hpo.spec.methods import read_method
from hpo.spec.partial_space import stand_in
from hpo.spec.report_section import REPORT, read_report
from hpo.spec.space.search_space import Fixed, Float, Parameter, is_name, read_parameters
from hpo.spec.subject_checks import SUBJECTS, check_command, check_subject
from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import (
    LARGEST_COUNT,
    WRONG,
    Number,
    OneOrSeveral,
    StudyName,
    Text,
    ValueKind,
    Whole,
    Word,
    read_table,
    unknown,
)
from hpo.spec.values.resource_kinds import GpuCount, MemorySize
from hpo.spec.values.user_values import AnyToml

ENDS: Final = ("trials", "total_epochs", "hours", "target")
"""The budgets that end a study. Every study needs one of them."""

_COUNT: Final = Whole(1, LARGEST_COUNT)
_SEED: Final = Whole(0, 2**32 - 1)
# A hundred years; a later deadline is not a valid date.
_LONGEST_HOURS: Final = 876_600.0

_MOST_PARTS: Final = 100

BUDGET: Final[Mapping[str, ValueKind]] = {
    "trials": _COUNT,
    "epochs": _COUNT,
    "total_epochs": _COUNT,
    "hours": Number(0, _LONGEST_HOURS, low_open=True),
    "trial_hours": Number(0, _LONGEST_HOURS, low_open=True),
    "target": Number(),
    "patience": _COUNT,
}
VALIDATION: Final[Mapping[str, ValueKind]] = {
    "val_fraction": Number(0, 1, low_open=True, high_open=True),
    "test_fraction": Number(0, 1, high_open=True),
    "seed": _SEED,
    "folds": Whole(1, _MOST_PARTS),
    "seeds": Whole(1, _MOST_PARTS),
}
RESOURCES: Final[Mapping[str, ValueKind]] = {
    "gpus": GpuCount(),
    "cpus": Whole(1, 4096),
    "memory": MemorySize(),
}
PLAIN: Final[Mapping[str, ValueKind]] = {
    "name": StudyName(),
    "task": Text(),
    "objective": Text(),
    "command": CommandText(),
    "metric": OneOrSeveral(Text(), unique=True),
    "direction": OneOrSeveral(Word(("maximize", "minimize"))),
    "engine": Word(("auto", "solo", "fused")),
    "seed": _SEED,
}
SECTIONS: Final = (
    "task_options",
    "budget",
    "space",
    "sampler",
    "pruner",
    "validation",
    "report",
    "resources",
)
KEYS: Final = (*PLAIN, *SECTIONS)


@dataclass
class StudyDraft:
    """The entries of a study that could be read, whether or not it has mistakes.

    Attributes:
        values: The fields of a ``StudySpec`` that are valid by themselves.
        names: The names of all parameters, including invalid ones.
        parameters: The parameters that are valid by themselves.
        stand_ins: A value for each invalid parameter, so that the task can be checked.
    """

    values: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    parameters: dict[str, Parameter] = field(default_factory=dict)
    stand_ins: dict[str, Fixed] = field(default_factory=dict)

    @property
    def task(self) -> str | None:
        """The task's reference, if it is valid."""
        task: str | None = self.values.get("task")
        return task

    @property
    def objective(self) -> str | None:
        """The objective's reference, if it is valid."""
        objective: str | None = self.values.get("objective")
        return objective

    @property
    def task_options(self) -> dict[str, Any]:
        """The options of the task that are valid by themselves."""
        return dict(self.values.get("task_options", {}))


def read_study(table: Mapping[str, Any], findings: Findings) -> StudyDraft:
    """Reads a whole study and records all mistakes, including those between sections.

    Args:
        table: The content of a study file, or the same from Python code.
        findings: Collects the mistakes.

    Returns:
        The entries that could be read; they make a ``StudySpec`` if there is no mistake.
    """
    draft = StudyDraft()
    plain = {key: value for key, value in table.items() if key in PLAIN}
    draft.values.update(read_table(plain, PLAIN, findings))
    for key, value in table.items():
        if key in SECTIONS:
            if value is not None:
                _read_section(key, value, draft, findings.below(key))
        elif key not in PLAIN:
            findings.add(_unknown_key(str(key)), str(key))
    if table.get("name") is None:
        findings.add("missing; every study has a name", "name")
    check_subject(table, {key for key in SUBJECTS if _is_misspelt(key, table)}, findings)
    if [key for key in SUBJECTS if table.get(key) is not None] == ["command"]:
        check_command(table, draft.values, draft.parameters, draft.names, findings)
    _check_ends(table.get("budget"), findings)
    _check_metrics(draft.values, findings)
    _check_grid(draft, findings)
    _check_gpus(draft, findings)
    return draft


def read_budget(table: Any, findings: Findings) -> dict[str, Any]:
    """Reads the values of a budget."""
    return read_table(table, BUDGET, findings)


def read_validation(table: Any, findings: Findings) -> dict[str, Any]:
    """Reads the data split, and the number of trainings of a trial."""
    values = read_table(table, VALIDATION, findings)
    val, test = values.get("val_fraction", 0.2), values.get("test_fraction", 0.2)
    if val + test >= 1 and values:
        findings.add(f"val_fraction + test_fraction must be below 1; found {val:g} + {test:g}")
    if values.get("folds", 1) > 1 and "val_fraction" in values:
        findings.add("folds are validated on in turn; leave it out", "val_fraction")
    return values


def read_resources(table: Any, findings: Findings) -> dict[str, Any]:
    """Reads the resources of a trial."""
    return read_table(table, RESOURCES, findings)


def _read_section(key: str, value: Any, draft: StudyDraft, findings: Findings) -> None:
    match key:
        case "task_options":
            if not isinstance(value, Mapping):
                findings.add(f"must be a table; found {show(value)}")
                return
            read = {name: AnyToml().read(v, findings.below(str(name))) for name, v in value.items()}
            draft.values[key] = {name: v for name, v in read.items() if v is not WRONG}
        case "space":
            draft.parameters = read_parameters(value, findings)
            _note_stand_ins(draft, value if isinstance(value, Mapping) else {})
            draft.values[key] = draft.parameters
        case "budget":
            draft.values[key] = read_budget(value, findings)
        case "validation":
            draft.values[key] = read_validation(value, findings)
        case "report":
            draft.values[key] = read_report(value, findings)
        case "resources":
            draft.values[key] = read_resources(value, findings)
        case _:
            draft.values[key] = read_method(key, value, findings)


def _note_stand_ins(draft: StudyDraft, space: Mapping[Any, Any]) -> None:
    draft.names = tuple(map(str, space))
    taken = {name.casefold() for name in draft.parameters}
    for name, value in space.items():
        if is_name(name) and name.casefold() not in taken:
            taken.add(name.casefold())
            draft.stand_ins[name] = stand_in(value)


def _unknown_key(key: str) -> str:
    tables = {
        "budget": BUDGET,
        "validation": VALIDATION,
        "report": REPORT,
        "resources": RESOURCES,
    }
    for section, keys in tables.items():
        if key in keys:
            return f"belongs into [{section}]"
    return unknown(key, KEYS)


def _check_ends(budget: Any, findings: Findings) -> None:
    """Records a budget that never ends the study, unless an entry is misspelt."""
    if budget is not None and not isinstance(budget, Mapping):
        return
    given = budget or {}
    if any(given.get(end) is not None for end in ENDS):
        return
    if not any(_is_misspelt(end, given) for end in ENDS):
        findings.add(f"needs at least one of {', '.join(ENDS)}", "budget")


def _is_misspelt(key: str, table: Mapping[str, Any]) -> bool:
    known = BUDGET if key in BUDGET else KEYS
    return any(nearest(str(name), known) == key for name in table if name not in known)


def _check_metrics(values: Mapping[str, Any], findings: Findings) -> None:
    """Records entries that do not match the number of metrics."""
    metrics, directions = values.get("metric", ()), values.get("direction", ())
    if metrics and directions and len(metrics) != len(directions):
        findings.add(
            f"must be one for each metric; found {len(directions)} for {len(metrics)}", "direction"
        )
    if max(len(metrics), len(directions)) < 2:
        return
    for name in ("target", "patience"):
        if name in values.get("budget", {}):
            findings.add("goes with a single metric only", "budget", name)


def _check_grid(draft: StudyDraft, findings: Findings) -> None:
    if draft.values.get("sampler", {}).get("name") != "grid":
        return
    if draft.objective is not None and not draft.names:
        findings.add(
            '"grid" needs a [space]: an objective names its parameters too late', "sampler"
        )
    for name, parameter in draft.parameters.items():
        if isinstance(parameter, Float) and parameter.step is None:
            findings.add('sampler = "grid" needs a step; it is continuous', "space", name)


def _check_gpus(draft: StudyDraft, findings: Findings) -> None:
    if draft.task is not None and draft.values.get("resources", {}).get("gpus", 0) > 1:
        findings.add(
            "a task trains on one GPU; several are for an objective or a command",
            "resources",
            "gpus",
        )
