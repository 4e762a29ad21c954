"""The description of a study: what to optimise, within which budget, by which method."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from hpo.spec.findings import Findings
from hpo.spec.methods import read_method
from hpo.spec.reading import read_budget, read_study, read_validation
from hpo.spec.space import SearchSpace

Direction: TypeAlias = Literal["maximize", "minimize"]

_MINIMIZED: Final = ("loss", "mse", "mae", "mape", "rmse", "error", "brier", "nll", "perplexity")


class _Section(BaseModel):
    """A part of a study, immutable and checked when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_table(self) -> dict[str, Any]:
        """Returns what a study file would hold, defaults left out."""
        return self.model_dump(exclude_defaults=True)


class Budget(_Section):
    """How much a study may spend; whatever ends first ends it.

    Attributes:
        trials: Exact number of trials.
        epochs: Most epochs of one trial.
        total_epochs: Most epochs of all trials together.
        hours: Hours since the study began, by the clock on the wall.
        trial_hours: Most hours that one trial trains; one that takes longer fails.
        target: Value of the metric that is good enough.
        patience: Trials in a row that may be no better than the best; then no more begin.
    """

    trials: int | None = None
    epochs: int = 27
    total_epochs: int | None = None
    hours: float | None = None
    trial_hours: float | None = None
    target: float | None = None
    patience: int | None = None

    def __init__(self, **values: Any) -> None:
        findings = Findings(("budget",))
        read = read_budget(values, findings)
        findings.raise_if_any("the budget", {"budget": values})
        super().__init__(**read)


class _Method(_Section):
    """A sampler or a pruner.

    Attributes:
        name: Its name, one of those in ``methods``.
        options: Options that differ from its defaults.
    """

    role: ClassVar[str]

    name: str
    options: dict[str, Any] = {}

    def __init__(self, **values: Any) -> None:
        findings = Findings((self.role,))
        read = read_method(self.role, values, findings)
        findings.raise_if_any(f"the {self.role}", {self.role: values})
        super().__init__(**read)

    def to_table(self) -> dict[str, Any]:
        """Returns what a study file would hold: the name and the options side by side."""
        return {"name": self.name, **self.options}


class SamplerSpec(_Method):
    """What proposes params; see ``_Method``."""

    role = "sampler"

    name: str = "auto"

    # Type checkers would otherwise allow only the fields, and no options by their names.
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class PrunerSpec(_Method):
    """What stops trials early; see ``_Method``."""

    role = "pruner"

    name: str = "auto"

    # Type checkers would otherwise allow only the fields, and no options by their names.
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class ValidationSpec(_Section):
    """How the data are split.

    Attributes:
        val_fraction: Share of all samples that the trials are compared on.
        test_fraction: Share that only the best trial sees, at the end; may be 0.
        seed: Seed of the split; the same for every trial.
        folds: Into so many parts the samples are cut, each of which is validated on by a model that
            was trained on the others; a trial's value is their mean. None for a single split.
        seeds: So often a trial is trained, from other initial weights; its value is their mean.
    """

    val_fraction: float = 0.2
    test_fraction: float = 0.2
    seed: int = 0
    folds: int | None = None
    seeds: int = 1

    def __init__(self, **values: Any) -> None:
        findings = Findings(("validation",))
        read = read_validation(values, findings)
        findings.raise_if_any("the validation", {"validation": values})
        super().__init__(**read)


class StudySpec(_Section):
    """A whole study.

    Besides instances of its parts it takes what a study file holds: one metric as text, a sampler
    by its name, tables as dicts.

    Attributes:
        name: Name of the study, unique in its database.
        task: The task, by its name, ``"module:Class"`` or ``"file.py:Class"``.
        objective: In place of a task: ``"module:function"`` of an Optuna objective.
        task_options: Keyword arguments of the task.
        metric: What is optimised; empty for the task's own.
        direction: ``maximize`` or ``minimize`` for each metric; empty to tell by their names.
        budget: When the study ends.
        space: What is searched; empty for the task's own.
        sampler: What proposes params.
        pruner: What stops trials early.
        validation: How the data are split.
        engine: ``solo`` trains one trial after the other, ``fused`` many as one wherever that is
            possible, ``auto`` wherever it is faster.
        seed: What all randomness of the study follows from.

    Raises:
        SpecError: With everything that is wrong.
    """

    name: str
    task: str | None = None
    objective: str | None = None
    task_options: dict[str, Any] = {}
    metric: tuple[str, ...] = ()
    direction: tuple[Direction, ...] = ()
    budget: Budget = Budget()
    space: SearchSpace = SearchSpace()
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    validation: ValidationSpec = ValidationSpec()
    engine: Literal["auto", "solo", "fused"] = "auto"
    seed: int = 0

    def __init__(self, **values: Any) -> None:
        findings = Findings()
        table = {key: _plain(value) for key, value in values.items()}
        draft = read_study(table, findings)
        findings.raise_if_any("StudySpec", table)
        if "space" in draft.values:
            draft.values["space"] = SearchSpace(draft.parameters)
        super().__init__(**draft.values)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics; empty when the task is to say, ``value`` for an objective."""
        if self.metric or self.objective is None:
            return self.metric
        n = max(1, len(self.direction))
        return ("value",) if n == 1 else tuple(f"value_{i}" for i in range(n))

    @property
    def directions(self) -> tuple[Direction, ...]:
        """A direction for each metric; empty when the task is to say."""
        if self.direction:
            return self.direction
        if self.metric:
            return tuple(default_direction(metric) for metric in self.metric)
        # Optuna's own default, which an objective that is run unchanged relies on.
        return ("minimize",) if self.objective is not None else ()

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the budget, in hexadecimal digits.

        It does not depend on the order of keys, nor on whether defaults are written out.
        """
        table = self.to_table()
        table.pop("budget", None)
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
        # Checked by itself first: the error should speak of the budget, not of the spec.
        budget = Budget(**{**self.budget.to_table(), **given})
        return StudySpec(**{**self.to_table(), "budget": budget})

    def with_defaults(
        self,
        *,
        metric: str | None = None,
        direction: Direction | None = None,
        space: Mapping[str, Any] | None = None,
    ) -> StudySpec:
        """Returns the spec with the task's own choices where it makes none.

        Args:
            metric: Metric for a spec without one.
            direction: Direction for a spec without a metric and a direction.
            space: Search space for a spec without one.

        Raises:
            SpecError: The task's choices do not go with the rest of the spec.
        """
        table = self.to_table()
        if not self.metric and metric is not None:
            table["metric"] = metric
            if direction is not None:
                table.setdefault("direction", direction)
        if not len(self.space) and space:
            table["space"] = space
        return StudySpec(**table)

    def to_table(self) -> dict[str, Any]:
        """Returns what a study file would hold, defaults left out.

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
    return value.to_table() if isinstance(value, _Section | SearchSpace) else value


def _json_of(value: dt.date | dt.time) -> dict[str, str]:
    return {type(value).__name__: value.isoformat()}
