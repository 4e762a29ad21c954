"""Sections of a study: its budget, sampler, pruner, validation, reports and resources."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from hpo.spec.methods import read_method
from hpo.spec.parsing import read_budget, read_resources, read_validation
from hpo.spec.report_section import read_report
from hpo.spec.values.findings import Findings


class Section(BaseModel):
    """A section of a study, immutable and checked when it is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_table(self) -> dict[str, Any]:
        """Returns the section as a study file writes it, without defaults."""
        return self.model_dump(exclude_defaults=True)


class Completed(Section):
    """A section whose missing entries the task may supply."""

    def to_given(self) -> dict[str, Any]:
        """Returns the entries that were given, including those that equal the defaults."""
        return self.model_dump(exclude_unset=True)


class Budget(Completed):
    """The budget of a study, which ends when the first of its limits is reached.

    Attributes:
        trials: Exact number of trials.
        epochs: Maximum epochs of one trial.
        total_epochs: Maximum epochs of all trials together.
        hours: Maximum wall-clock hours since the study began.
        trial_hours: Maximum hours that a trial trains; a longer trial fails.
        target: Value of the metric that ends the study.
        patience: Number of trials in a row without improvement, after which none begin.
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
        options: Options that differ from the defaults.
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
        """Returns the method as a study file writes it: name and options in one table."""
        return {"name": self.name, **self.options}


class SamplerSpec(_Method):
    """The sampler, which proposes params."""

    role = "sampler"

    name: str = "auto"

    # Type checkers would otherwise allow only the fields, and no options by their names.
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class PrunerSpec(_Method):
    """The pruner, which stops trials early."""

    role = "pruner"

    name: str = "auto"

    # Type checkers would otherwise allow only the fields, and no options by their names.
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class ValidationSpec(Completed):
    """The split of the data, and the number of models that a trial trains.

    Attributes:
        val_fraction: Fraction of all samples on which trials are compared.
        test_fraction: Fraction on which only the best trial is evaluated, at the end; may be 0.
        seed: Seed of the split; the same for every trial.
        folds: Number of folds of k-fold cross-validation; a trial's value is the mean over the
            folds. 1 for a single split; None for the task's own folds, or else a single split.
        seeds: Number of trainings of a trial with different initial weights; its value is the
            mean.
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
        """The number of models that a trial trains: one for each fold and seed."""
        return (self.folds or 1) * self.seeds


class ReportSpec(Section):
    """How a command reports, if it neither calls ``hpo.report`` nor writes ``metrics.jsonl``.

    Attributes:
        pattern: Regular expression that is searched in each line that the command prints. Its
            named groups are metrics. A group ``epoch`` is the number of the epoch; without one,
            matches are counted from 1. ``report_section.group_of`` names the group of a metric.
        csv: Path of a CSV with a row for each epoch, relative to the folder of the trial. It may
            have placeholders.
        resumes: Whether the command, run again for the same trial, continues from what it saved.
            ``auto``: if it names ``{trial_dir}`` or uses ``hpo.Run``.
    """

    pattern: str | None = None
    csv: str | None = None
    resumes: Literal["auto"] | bool = "auto"

    def __init__(self, **values: Any) -> None:
        findings = Findings(("report",))
        read = read_report(values, findings)
        findings.raise_if_any("the report", {"report": values})
        super().__init__(**read)


class ResourceSpec(Completed):
    """The resources of a trial, by which a machine decides how many workers it has.

    Attributes:
        gpus: GPUs of a worker: 0 for none, 0.5 for half of one, 2 for two. None for one GPU a
            worker where there are GPUs.
        cpus: Cores of a worker, which has as many threads. None for one on a CPU, or its part of
            the machine beside a GPU.
        memory: Main memory of a worker, such as ``16GiB``. None for no limit.
    """

    gpus: int | float | None = None
    cpus: int | None = None
    memory: str | None = None

    def __init__(self, **values: Any) -> None:
        findings = Findings(("resources",))
        read = read_resources(values, findings)
        findings.raise_if_any("[resources]", {"resources": values})
        super().__init__(**read)

    def replaced_by(self, other: ResourceSpec) -> ResourceSpec:
        """Returns these resources with the entries that the others give."""
        return ResourceSpec(**{**self.to_given(), **other.to_given()})

    def __str__(self) -> str:
        """Returns the entries that are given, in words: ``0.5 GPU, 4 cores, 16GiB``."""
        words = []
        if self.gpus is not None:
            words.append(f"{self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else "no GPU")
        if self.cpus is not None:
            words.append(f"{self.cpus} core{'s' * (self.cpus > 1)}")
        if self.memory is not None:
            words.append(self.memory)
        return ", ".join(words)
