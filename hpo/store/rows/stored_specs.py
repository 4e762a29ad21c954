"""Stored specs: read from the database with checks, as other programs may have changed them."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

from hpo.errors import StoreError

if TYPE_CHECKING:
    from hpo.spec.study_spec import StudySpec

LONGEST: Final = 1_000_000
"""Characters of a spec, as for study files: a larger one takes minutes to read."""
MOST_PARAMETERS: Final = 10_000
"""Parameters of a spec: checking more of them takes minutes, too."""


def read_table(text: Any, study: str) -> dict[str, Any]:
    """Returns the entries of a stored spec, unchecked.

    Args:
        text: As ``hpo_study.spec`` has it.
        study: The name of its study.

    Raises:
        StoreError: It is not TOML, or too large; the row is named.
    """
    if not isinstance(text, str):
        raise wrong(study, "it is no text")
    if len(text) > LONGEST:
        raise wrong(study, f"it has {len(text):,} characters; {LONGEST:,} are the most")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise wrong(study, "it is nested too deeply") from None
    except ValueError as error:
        raise wrong(study, f"it is not TOML ({error})") from None
    space = table.get("space")
    if isinstance(space, dict) and len(space) > MOST_PARAMETERS:
        raise wrong(study, f"it has {len(space):,} parameters; {MOST_PARAMETERS:,} are the most")
    return table


def read(text: Any, study: str) -> StudySpec:
    """Returns a stored spec.

    Raises:
        StoreError: It is no spec; the row is named, and the first problem.
    """
    # The parser takes long to load, and a list of studies does not need it.
    from hpo.spec import toml

    table = read_table(text, study)
    try:
        parsed = toml.parse_table(table, study)
    except (RecursionError, ValueError, TypeError) as error:
        raise wrong(study, f"{type(error).__name__}: {error}") from error
    if parsed.spec is None:
        raise wrong(study, _first(parsed.problems))
    return parsed.spec


def wrong(study: str, why: str) -> StoreError:
    """Returns the error that a stored spec cannot be read."""
    return StoreError(
        f"table hpo_study, study {study!r}: its spec cannot be read: {why}",
        hint="`hpo delete` deletes the study; the others are not touched by it",
    )


def _first(problems: Any) -> str:
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{first.key}: {first.message}{more}"
