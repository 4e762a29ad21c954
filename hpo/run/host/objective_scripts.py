"""Objective scripts: the settings that a study takes from the script of its objective."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import HpoError
from hpo.spec.parsing import StudyDraft
from hpo.spec.study_spec import StudySpec
from hpo.tasks.code.resolve import script_of
from hpo.tasks.code.script_settings import Takeover, take_over


def with_script(
    spec: StudySpec, draft: StudyDraft, base_dir: Path, given: Mapping[str, Any]
) -> tuple[StudySpec, tuple[str, ...]]:
    """Returns a study as its objective's script wants it, and what the user is told of that.

    Args:
        spec: The study.
        draft: What the user has said of it.
        base_dir: Folder that its relative paths refer to.
        given: What else the user has said, such as ``storage`` and ``workers``.

    Raises:
        SpecError: The script's directions do not go with the rest of the study.
    """
    found = _read(draft, base_dir, given, spec.directions)
    if not found.directions:
        return spec, found.lines
    return StudySpec(**{**spec.to_given(), "direction": list(found.directions)}), found.lines


def advice(draft: StudyDraft, base_dir: Path) -> str | None:
    """Returns what a script says of the budget, for a study that has none."""
    try:
        lines = _read(draft, base_dir, {}, ()).lines
    except HpoError:
        return None
    asked = [part for line in lines for part in line.split("; ") if "--trials" in part]
    return f"the script has {asked[0].rpartition(': ')[2]}" if asked else None


def pausing(spec: StudySpec) -> tuple[str, ...]:
    """Returns what the user is told where the study's pruner would pause the trials of a task."""
    if spec.pruner.name != "freeze-thaw" or len(spec.directions) > 1:
        return ()
    return (
        "an objective without hpo.Run cannot be paused: freeze-thaw stops trials that will hardly "
        "be the best, where they report values and ask should_prune()",
    )


def _read(
    draft: StudyDraft, base_dir: Path, given: Mapping[str, Any], usual: tuple[str, ...]
) -> Takeover:
    assert draft.objective is not None
    path = script_of(draft.objective, base_dir)
    if path is None:
        return Takeover()
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return Takeover()
    budget = {k: v for k, v in draft.values.get("budget", {}).items() if v is not None}
    said = {**draft.values, **budget, **{k: v for k, v in given.items() if v is not None}}
    function = draft.objective.rpartition(":")[2]
    return take_over(source, path.name, function, said, usual)
