"""Reproduction: what is known of how a study was run, and what running it again would give."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hpo.report.page.sentences import listed, name_of
from hpo.report.page.study_report import StudyReport
from hpo.report.text.formatting import count
from hpo.spec import toml
from hpo.store.studies.provenance import Environment

_KEY_PACKAGES: Final = (
    *("hpo", "torch", "optuna", "numpy", "scipy", "scikit-learn", "pandas", "sqlalchemy"),
    *("lightning", "transformers", "accelerate", "torchvision"),
)
_LONGEST: Final = 200
_MOST_DIFFERENT: Final = 8


@dataclass(frozen=True)
class Reproduction:
    """How to run a study again.

    Attributes:
        command: The command; empty for a study that hpo did not create.
        spec: Text of the study file.
        facts: Names and values: versions, commit, files, data.
        notes: What is not the same in a repetition, and what is unknown.
        packages: All packages as a requirements file; empty if they were not recorded.
    """

    command: str
    spec: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    packages: str


def reproduction_of(report: StudyReport) -> Reproduction:
    """Returns how to run a study again."""
    spec, environments = report.subject.spec, report.provenance.environments
    newest = environments[-1] if environments else None
    file = re.sub(r"[^\w.-]+", "-", report.subject.name)[:80].lstrip("-.") or "study"
    packages = "" if newest is None else _requirements(newest)
    return Reproduction(
        command="" if spec is None else f"hpo run {shlex.quote(file)}.toml",
        spec="" if spec is None else toml.dumps(spec),
        facts=tuple(_facts(report, newest)),
        notes=tuple(_notes(report)),
        packages=packages,
    )


def _requirements(environment: Environment) -> str:
    pinned = environment.packages.items()
    return "\n".join(f"{name_of(name)}=={name_of(version)}" for name, version in pinned)


def _facts(report: StudyReport, newest: Environment | None) -> list[tuple[str, str]]:
    spec = report.subject.spec
    found = [] if spec is None else [("seed", str(spec.seed))]
    if newest is None:
        for versions in report.versions[:1]:
            found += [(name_of(name), name_of(str(text))) for name, text in versions.items()]
        return [*found, *_data(report)]
    found.append(("Python", f"{newest.python} on {newest.platform}"))
    key = [f"{name} {newest.packages[name]}" for name in _lower(newest) if name in newest.packages]
    found.append(("packages", ", ".join(key)))
    if newest.commit:
        state = {True: ", with changes that were not committed", None: ", changes unknown"}
        folder = f" in {newest.folder}/" if newest.folder else ""
        text = f"{newest.commit}{folder}{state.get(newest.is_modified, '')}"
        found.append(("git commit", text))
    for name, checksum in newest.files.items():
        shown = f"SHA-256 {checksum}" if checksum else "too large for a checksum"
        found.append((name[-_LONGEST:], shown))
    return [(name, text) for name, text in [*found, *_data(report)] if text]


def _lower(environment: Environment) -> Sequence[str]:
    """Returns the packages that decide results, by the names under which they are installed."""
    known = {name.lower(): name for name in environment.packages}
    return [known[name] for name in _KEY_PACKAGES if name in known]


def _data(report: StudyReport) -> list[tuple[str, str]]:
    data = report.provenance.data
    return [
        ("data", f"{count(one.n_samples)} samples, checksum {one.checksum} (as hpo loads them)")
        for one in data
    ]


def _notes(report: StudyReport) -> list[str]:
    spec, environments = report.subject.spec, report.provenance.environments
    notes = []
    if spec is None:
        return ["Optuna created this study. hpo knows neither its code nor its seed."]
    if spec.kind == "task":
        notes.append(
            "The split of the data, the initial weights and the order of the batches of a trial "
            "follow from the seed and the trial's number."
        )
    else:
        notes.append(
            f"The search draws its random numbers from the seed. Those of the training, and the "
            f"data, are up to the {spec.kind}'s code."
        )
    if spec.kind == "command" and environments:
        notes.append("The packages are those of hpo's Python. The command may use others.")
    if _is_parallel(report):
        notes.append(
            "Several workers ran at once. The order in which trials report decides what the search "
            "tries next, so a repetition may try other parameters."
        )
    else:
        notes.append("With one worker, a search with the same seed tries the same parameters.")
    if any(one.is_modified for one in environments):
        notes.append(
            "The repository had changes that were not committed: the commit alone is not the code."
        )
    if not environments:
        notes.append("Packages, commit and files were not recorded when this study was run.")
    elif not any(one.commit for one in environments):
        notes.append("The study's folder was in no git repository, so no commit is known.")
    if len(environments) > 1:
        notes.append(_differences(environments))
    if len(report.provenance.data) > 1:
        notes.append(
            "Trials had different data: the data changed while the study ran, so not all values "
            "can be compared."
        )
    return notes


def _is_parallel(report: StudyReport) -> bool:
    effort = report.effort
    return effort.elapsed_s is not None and effort.worker_s > 1.02 * effort.elapsed_s


def _differences(environments: Sequence[Environment]) -> str:
    n = len(environments)
    different = []
    if len({one.python for one in environments}) > 1:
        different.append("Python")
    if len({one.commit for one in environments}) > 1:
        different.append("the commit")
    if len({tuple(one.files.items()) for one in environments}) > 1:
        different.append("the study's files")
    names = dict.fromkeys(name for one in environments for name in one.packages)
    found = [name for name in names if len({one.packages.get(name) for one in environments}) > 1]
    different += [name_of(name) for name in found[:_MOST_DIFFERENT]]
    if len(found) > _MOST_DIFFERENT:
        different.append(f"{len(found) - _MOST_DIFFERENT} other packages")
    what = listed(different) if different else "platforms or uncommitted changes"
    return f"The study ran in {n} environments, which differ in {what}; the last one is shown."
