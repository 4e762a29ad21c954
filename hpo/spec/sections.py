"""The sections of a study: its budget, its methods, its validation."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from hpo.spec.methods import read_method
from hpo.spec.parsing import read_budget, read_validation
from hpo.spec.values.findings import Findings


class Section(BaseModel):
    """A part of a study, immutable and checked when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_table(self) -> dict[str, Any]:
        """Returns what a study file would hold, defaults left out."""
        return self.model_dump(exclude_defaults=True)


class Completed(Section):
    """A section whose task may say what the study leaves open."""

    def to_given(self) -> dict[str, Any]:
        """Returns the entries that were given, also those that equal the defaults."""
        return self.model_dump(exclude_unset=True)


class Budget(Completed):
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


class _Method(Section):
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


class ValidationSpec(Completed):
    """How the data are split.

    Attributes:
        val_fraction: Share of all samples that the trials are compared on.
        test_fraction: Share that only the best trial sees, at the end; may be 0.
        seed: Seed of the split; the same for every trial.
        folds: Into so many parts the samples are cut, each of which is validated on by a model that
            was trained on the others; a trial's value is their mean. 1 for a single split; None for
            one too, unless the task has folds of its own.
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

    @property
    def n_parts(self) -> int:
        """How many models a trial trains: one for each fold and seed."""
        return (self.folds or 1) * self.seeds
