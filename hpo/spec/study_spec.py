"""StudySpec: what to optimise, within which budget and by which method."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from hpo.spec.parsing import read_study
from hpo.spec.sections import (
    Budget,
    Completed,
    PrunerSpec,
    ReportSpec,
    ResourceSpec,
    SamplerSpec,
    Section,
    ValidationSpec,
)
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.values.findings import Findings

__all__ = [
    "Budget",
    "Direction",
    "PrunerSpec",
    "ReportSpec",
    "ResourceSpec",
    "SamplerSpec",
    "StudySpec",
    "ValidationSpec",
]

Direction: TypeAlias = Literal["maximize", "minimize"]

_MINIMIZED: Final = ("loss", "mse", "mae", "mape", "rmse", "error", "brier", "nll", "perplexity")


class StudySpec(Section):
    """A whole study.

    The arguments are instances of the sections, or what a study file holds: one metric as text, a
    sampler by its name, tables as dicts.

    Attributes:
        name: Name of the study, unique in its database.
        task: The task, by its name, ``"module:Class"`` or ``"file.py:Class"``.
        objective: In place of a task: ``"module:function"`` of an Optuna objective.
        command: In place of a task: a program with its arguments, whose placeholders are filled by
            ``command_line.fill``.
        task_options: Keyword arguments of the task.
        metric: Metrics that are optimised; empty for the task's default.
        direction: ``maximize`` or ``minimize`` for each metric; empty to infer it from their names.
        budget: When the study ends.
        space: Search space; empty for the task's default.
        sampler: Proposes params.
        pruner: Stops trials early.
        validation: Split of the data.
        report: How a command reports.
        resources: GPUs, cores and memory of a trial.
        engine: ``solo`` trains one trial after the other, ``fused`` stacks trials wherever that is
            possible, ``auto`` wherever it is faster.
        seed: Seed of all randomness of the study.

    Raises:
        SpecError: There are mistakes; it lists all of them.
    """

    name: str
    task: str | None = None
    objective: str | None = None
    command: str | None = None
    task_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic gives each study its own
    metric: tuple[str, ...] = ()
    direction: tuple[Direction, ...] = ()
    budget: Budget = Budget()
    space: SearchSpace = SearchSpace()
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    validation: ValidationSpec = ValidationSpec()
    report: ReportSpec = ReportSpec()
    resources: ResourceSpec = ResourceSpec()
    engine: Literal["auto", "solo", "fused"] = "auto"
    seed: int = 0

    def __init__(self, **values: Any) -> None:
        findings = Findings()
        table = {key: _given(value) for key, value in values.items()}
        draft = read_study(table, findings)
        findings.raise_if_any("StudySpec", table)
        if "space" in draft.values:
            draft.values["space"] = SearchSpace(draft.parameters)
        super().__init__(**draft.values)

    @property
    def kind(self) -> Literal["task", "objective", "command"]:
        """What a trial runs."""
        if self.command is not None:
            return "command"
        return "task" if self.objective is None else "objective"

    @property
    def reference(self) -> str:
        """The task, the objective or the command."""
        return str(getattr(self, self.kind))

    @property
    def declares_epochs(self) -> bool:
        """Whether a trial has the budget's epochs from the start: of a task and of a command."""
        return self.objective is None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics; empty if the task decides, ``value`` for an objective."""
        if self.metric or self.objective is None:
            return self.metric
        n = max(1, len(self.direction))
        return ("value",) if n == 1 else tuple(f"value_{i}" for i in range(n))

    @property
    def directions(self) -> tuple[Direction, ...]:
        """A direction for each metric; empty if the task decides."""
        if self.direction:
            return self.direction
        if self.metric:
            return tuple(default_direction(metric) for metric in self.metric)
        # Optuna's own default, which an objective that is run unchanged relies on.
        return ("minimize",) if self.objective is not None else ()

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the budget and the resources, in hexadecimal digits.

        It does not depend on the order of keys, nor on whether defaults are written out.
        """
        table = self.to_table()
        for changeable in ("budget", "resources"):
            table.pop(changeable, None)
        table["direction"] = list(self.directions)
        text = json.dumps(table, sort_keys=True, separators=(",", ":"), default=_json_of)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_budget(self, **changes: Any) -> StudySpec:
        """Returns the spec with another budget.

        Args:
            **changes: Fields of ``Budget``; None leaves the field as it is.

        Raises:
            SpecError: A change is wrong.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        # Checked by itself first, so that the error names the budget, not the spec.
        budget = Budget(**{**self.budget.to_table(), **given})
        return StudySpec(**{**self.to_table(), "budget": budget})

    def with_resources(self, other: ResourceSpec) -> StudySpec:
        """Returns the spec with the entries of other resources in place of its own.

        Raises:
            SpecError: The study cannot use them, such as two GPUs for a task.
        """
        return StudySpec(**{**self.to_given(), "resources": self.resources.replaced_by(other)})

    def with_defaults(
        self,
        *,
        metric: str | None = None,
        direction: Direction | None = None,
        space: Mapping[str, Any] | None = None,
        budget: Mapping[str, Any] | None = None,
        validation: Mapping[str, Any] | None = None,
    ) -> StudySpec:
        """Returns the spec with the task's defaults for missing entries.

        Args:
            metric: Metric for a spec without one.
            direction: Direction for a spec without a metric and a direction.
            space: Search space for a spec without one.
            budget: Entries that the spec's budget leaves out.
            validation: Likewise; folds are ignored if the spec has ``val_fraction``.

        Raises:
            SpecError: The task's defaults contradict the rest of the spec.
        """
        table = self.to_table()
        if not self.metric and metric is not None:
            table["metric"] = metric
            if direction is not None:
                table.setdefault("direction", direction)
        if not len(self.space) and space:
            table["space"] = space
        table["budget"] = {**(budget or {}), **self.budget.to_given()}
        given = self.validation.to_given()
        chosen = {k: v for k, v in (validation or {}).items() if not _excludes(given, k)}
        table["validation"] = {**chosen, **given}
        return StudySpec(**table)

    def to_given(self) -> dict[str, Any]:
        """Returns the table with every entry of budget and validation that was given.

        Given entries have priority over the task's defaults even if they equal hpo's defaults.
        """
        given = {"budget": self.budget.to_given(), "validation": self.validation.to_given()}
        return {**self.to_table(), **{name: table for name, table in given.items() if table}}

    def to_table(self) -> dict[str, Any]:
        """Returns the spec as a study file writes it, without defaults.

        ``StudySpec(**spec.to_table())`` equals the spec.
        """
        table: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value == field.default:
                continue
            if isinstance(value, tuple):
                value = value[0] if len(value) == 1 else list(value)
            table[name] = _plain(value)
        return table


def default_direction(metric: str) -> Direction:
    """Returns ``minimize`` for losses and errors, by the metric's name, else ``maximize``."""
    return "minimize" if metric.lower().endswith(_MINIMIZED) else "maximize"


def _plain(value: Any) -> Any:
    return value.to_table() if isinstance(value, Section | SearchSpace) else value


def _given(value: Any) -> Any:
    return value.to_given() if isinstance(value, Completed) else _plain(value)


def _excludes(given: Mapping[str, Any], name: str) -> bool:
    """Returns whether a study's validation excludes an entry of its task's."""
    return name == "folds" and "val_fraction" in given


def _json_of(value: dt.date | dt.time) -> dict[str, str]:
    return {type(value).__name__: value.isoformat()}
