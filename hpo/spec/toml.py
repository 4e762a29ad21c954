"""Study files: TOML text to StudySpec and back; one error lists all mistakes of a file."""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hpo.errors import Problem, SpecError, did_you_mean
from hpo.spec.logger_choices import SECTION, LoggerChoice, read_section
from hpo.spec.parsing import StudyDraft, read_study
from hpo.spec.study_files import read_text
from hpo.spec.study_spec import StudySpec
from hpo.spec.toml_writer import render
from hpo.spec.values.findings import Findings, in_file_order

_MAX_LINE: Final = 100
_EMPTY: Final = "is empty; a study needs a task, a space and a budget"


@dataclass(frozen=True)
class Parsed:
    """A parsed study file, whether or not the study is valid.

    Attributes:
        source: Origin of the text, for the headline of an error.
        spec: The study; None when there are problems.
        problems: The mistakes, in the order of the file.
        draft: The entries that could be read.
        table: The content of the file, without its loggers.
        loggers: The loggers that the file names; they are no part of the study.
    """

    source: str
    spec: StudySpec | None
    problems: tuple[Problem, ...]
    draft: StudyDraft
    table: Mapping[str, Any]
    loggers: tuple[LoggerChoice, ...] = ()

    def error(self, more: Iterable[Problem] = ()) -> SpecError | None:
        """Returns one error with the problems and those that later checks found.

        Args:
            more: Further problems; those at a key that has one already are left out.

        Returns:
            The error, its problems in the order of the file; None when there are none.
        """
        known = {problem.key for problem in self.problems}
        # A section that is not a table has no further mistakes worth reporting.
        later = [p for p in more if not known & {p.key, p.key.partition(".")[0]}]
        found = [*self.problems, *later]
        problems = in_file_order(found, self.table)
        return SpecError(source=self.source, problems=problems) if problems else None


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """Reads a study file.

    Args:
        path: The file. A study without a name gets that of its file.
        overrides: Entries that replace those of the file; see ``parse``.

    Raises:
        SpecError: There is no such file, it is not TOML, or it has mistakes: all of them.
    """
    return _spec(parse_file(path, overrides))


def loads(text: str, source: str = "the study") -> StudySpec:
    """Reads the text of a study file.

    Args:
        text: TOML.
        source: Origin of the text, for the headline of an error.

    Raises:
        SpecError: It is not TOML, or it has mistakes: all of them.
    """
    return _spec(parse(text, source))


def dumps(spec: StudySpec) -> str:
    """Returns a spec as the text of a study file, without defaults; ``loads`` reads it back."""
    return render(spec.to_table())


def parse_file(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Parsed:
    """Reads a study file, valid or not; see ``load`` and ``parse``.

    Raises:
        SpecError: There is no such file, or it is not TOML.
    """
    table = _table(read_text(path).removeprefix("\ufeff"), str(path))
    table.setdefault("name", Path(path).stem)
    loggers = table.pop(SECTION, {})
    parsed = parse_table(table, str(path), overrides)
    try:
        found = read_section(loggers, str(path), Path(path).absolute().parent)
    except SpecError as error:
        problems = (*parsed.problems, *error.problems)
        return replace(parsed, spec=None, problems=problems)
    return replace(parsed, loggers=found)


def parse(
    text: str,
    source: str,
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Parsed:
    """Reads the text of a study file, valid or not.

    Args:
        text: TOML.
        source: Origin of the text, for the headline of an error.
        name: Name for a study without one.
        overrides: Entries that replace those of the text, such as
            ``{"seed": 1, "budget": {"trials": 60}}``; None keeps an entry.

    Raises:
        SpecError: The text is empty or not TOML.
    """
    table = _table(text.removeprefix("\ufeff"), source)
    if name is not None:
        table.setdefault("name", name)
    return parse_table(table, source, overrides)


def parse_table(
    table: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None
) -> Parsed:
    """Reads the table of a study file; see ``parse``."""
    merged = copy.deepcopy(dict(table))
    findings = Findings()
    _override(merged, _of_known_parameters(overrides or {}, table.get("space"), findings))
    draft = read_study(merged, findings)
    problems = in_file_order(findings.problems, merged)
    spec = None if problems else StudySpec(**merged)
    return Parsed(source, spec, problems, draft, merged)


def diff(old_toml: str, new_toml: str, name: str) -> str:
    """Returns a unified diff of two texts of one study.

    Args:
        old_toml: The study as the database holds it.
        new_toml: The study as it was given now.
        name: Name of the study.
    """
    lines = difflib.unified_diff(
        old_toml.splitlines(),
        new_toml.splitlines(),
        f"{name} (in the database)",
        f"{name} (given now)",
        lineterm="",
    )
    return "\n".join(lines)


def _spec(parsed: Parsed) -> StudySpec:
    if parsed.spec is None:
        raise SpecError(source=parsed.source, problems=parsed.problems)
    return parsed.spec


def _override(table: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(table.setdefault(key, {}), dict):
            _override(table[key], value)
        elif value is not None:
            table[key] = value


def _of_known_parameters(
    overrides: Mapping[str, Any], space: Any, findings: Findings
) -> Mapping[str, Any]:
    """Leaves out parts of parameters that the study does not have, and notes them as mistakes."""
    given = overrides.get("space")
    if not isinstance(given, Mapping) or not isinstance(space, Mapping) or not space:
        return overrides
    unknown = [
        name
        for name, part in given.items()
        if name not in space and isinstance(part, Mapping) and not _is_whole(part)
    ]
    for name in unknown:
        advice = did_you_mean(name, list(map(str, space)))
        findings.below("space").add(f"the study has no such parameter{advice}", name)
    return {**overrides, "space": {k: v for k, v in given.items() if k not in unknown}}


def _is_whole(parameter: Mapping[str, Any]) -> bool:
    return parameter.keys() >= {"low", "high"} or bool(parameter.keys() & {"choices", "value"})


def _table(text: str, source: str) -> dict[str, Any]:
    if not text.strip():
        raise SpecError(f"{source} {_EMPTY}")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SpecError(f"{source} is not a study: it is nested too deeply") from None
    except ValueError as error:
        problem = _syntax_problem(text, str(error))
        raise SpecError(f"{source} is not valid TOML", source=source, problems=[problem]) from None
    if not table:
        raise SpecError(f"{source} {_EMPTY}")
    return table


def _syntax_problem(text: str, message: str) -> Problem:
    """Returns the place of a syntax error, with the line."""
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    what, _, where = message.partition(" (at ")
    place = re.match(r"line (\d+), column (\d+)", where)
    if place is None and "end of document" not in where:
        # The only message without a position is Python's own, about a number.
        return Problem("a number", "has more digits than can be read")
    # An error at the end of the document is shown in its last line.
    number = int(place[1]) if place else len(lines)
    shown = lines[number - 1] if number <= len(lines) else ""
    column = int(place[2]) if place else len(shown) + 1
    start = max(0, column - _MAX_LINE // 2) if len(shown) > _MAX_LINE else 0
    line = "".join(c if c.isprintable() else " " for c in shown[start : start + _MAX_LINE])
    return Problem(f"line {number}, column {column}", f"{_lower(what)}: {line.strip()}")


def _lower(message: str) -> str:
    if message.startswith("Cannot overwrite a value"):
        return "this key stands here a second time"
    return message[:1].lower() + message[1:]
