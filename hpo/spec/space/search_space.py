"""Search spaces: named dimensions, and which of them apply at a point."""

from __future__ import annotations

import keyword
import numbers
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from hpo.spec.space.conditions import check_conditions, parents_first
from hpo.spec.space.dimensions import (
    CATEGORICAL_KINDS,
    FIXED_KINDS,
    FLOAT_KINDS,
    INT_KINDS,
    Categorical,
    Condition,
    Fixed,
    Float,
    Int,
    Parameter,
    read_dimension,
    same,
)
from hpo.spec.space.params import Params
from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import WRONG, ValueKind, read_table
from hpo.spec.values.user_values import AnyScalar, Scalar

__all__ = [
    "Categorical",
    "Condition",
    "Fixed",
    "Float",
    "Int",
    "Parameter",
    "Scalar",
    "SearchSpace",
    "read_parameters",
]

_MAX_NAME: Final = 200
# `params.items` must stay the method.
_RESERVED: Final = frozenset(name for name in dir(Params) if not name.startswith("_"))
_FORMS: Final = "{ low = ..., high = ... }, { choices = [...] } or one fixed value"


class SearchSpace(BaseModel):
    """The parameters of a study by name.

    Args:
        parameters: Dimensions, or tables and bare values as in a study file.

    Raises:
        SpecError: Parameters or conditions have mistakes; it lists all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: dict[str, Parameter] = {}

    def __init__(self, parameters: Mapping[str, Any] | None = None) -> None:
        findings = Findings()
        read = read_parameters(parameters or {}, findings)
        findings.raise_if_any("SearchSpace", parameters)
        super().__init__(parameters=read)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the study file."""
        return tuple(self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    def __contains__(self, name: object) -> bool:
        return name in self.parameters

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def order(self) -> tuple[str, ...]:
        """Returns the names, parents before children, otherwise in the order of the study file."""
        return tuple(parents_first(self.parameters))

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Returns whether a parameter applies at a point.

        Args:
            name: The parameter.
            params: Values of at least its active ancestors.

        Returns:
            Whether its conditions hold, and those of all its ancestors.
        """
        waiting, checked = [name], set()
        while waiting:
            child = waiting.pop()
            checked.add(child)
            for parent, allowed in self.parameters[child].when.items():
                if parent not in params or not any(same(params[parent], v) for v in allowed):
                    return False
                if parent not in checked:
                    waiting.append(parent)
        return True

    def to_table(self) -> dict[str, Any]:
        """Returns the space as a study file writes it."""
        return {name: parameter.to_table() for name, parameter in self.parameters.items()}


def read_parameters(table: Any, findings: Findings) -> dict[str, Parameter]:
    """Reads a space, and records all mistakes.

    Args:
        table: Dimensions, tables or bare values by name.
        findings: Collects the mistakes.

    Returns:
        The parameters that are valid by themselves.
    """
    if not isinstance(table, Mapping):
        findings.add(f"must be a table of parameters; found {show(table)}")
        return {}
    parameters: dict[str, Parameter] = {}
    by_case: dict[str, str] = {}
    for name, value in table.items():
        at = findings.below(str(name))
        is_named = _check_name(name, at)
        twin = by_case.setdefault(str(name).casefold(), str(name))
        if twin != name:
            at.add(f"differs from {twin} in upper and lower case only; not every database does")
        parameter = _read_parameter(value, at)
        if parameter is not None and is_named and twin == name:
            parameters[name] = parameter
    check_conditions(parameters, dict.fromkeys(map(str, table)), findings)
    return parameters


def is_name(name: Any) -> bool:
    """Returns whether a name is allowed for a parameter."""
    return _check_name(name, Findings())


def _check_name(name: Any, findings: Findings) -> bool:
    before = len(findings.problems)
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        findings.add("must be a Python name, as it is read by params.name")
    elif name.startswith("_"):
        findings.add("must not begin with _")
    elif name in _RESERVED:
        findings.add(f"is taken: params.{name} is a method")
    elif len(name) > _MAX_NAME:
        findings.add(f"must be at most {_MAX_NAME} characters long; it has {len(name)}")
    elif unicodedata.normalize("NFKC", name) != name:
        # Python itself would look up the normal form.
        findings.add(f"must be written {unicodedata.normalize('NFKC', name)}")
    return len(findings.problems) == before


def _read_parameter(value: Any, findings: Findings) -> Parameter | None:
    if isinstance(value, Float | Int | Categorical | Fixed):
        return value
    if isinstance(value, Mapping):
        return _read_form(value, findings)
    if isinstance(value, list | tuple):
        findings.add(f"must be {_FORMS}; found {show(value)}{_meant(value)}")
        return None
    fixed = AnyScalar().read(value, findings)
    return None if fixed is WRONG else Fixed(fixed)


def _meant(values: Sequence[Any]) -> str:
    """Returns a hint at what a bare list was probably meant to be."""
    if not values or not all(isinstance(value, bool | int | float | str) for value in values):
        return ""
    choices = f"{{ choices = {show(values)} }}"
    is_range = len(values) == 2 and all(type(value) in (int, float) for value in values)
    if not is_range or not values[0] < values[1]:
        return f"; write {choices}"
    return f"; write {{ low = {show(values[0])}, high = {show(values[1])} }} or {choices}"


def _read_form(table: Mapping[str, Any], findings: Findings) -> Parameter | None:
    """Reads a table as a dimension, whose kind its keys decide."""
    forms = [form for form in ("choices", "value") if form in table]
    forms += ["low and high"] * ("low" in table or "high" in table)
    if len(forms) > 1:
        findings.add(f"has {' as well as '.join(forms)}; one of them is enough")
        return None
    if not forms:
        known = {**FLOAT_KINDS, **CATEGORICAL_KINDS, **FIXED_KINDS}
        before = len(findings.problems)
        read_table(table, known, findings)
        if len(findings.problems) == before:
            findings.add(f"must be {_FORMS}")
        return None
    match forms[0]:
        case "choices":
            return _build(Categorical, table, CATEGORICAL_KINDS, findings)
        case "value":
            return _build(Fixed, table, FIXED_KINDS, findings)
    if all(_is_whole(table.get(key)) for key in ("low", "high", "step")):
        return _build(Int, table, INT_KINDS, findings)
    return _build(Float, table, FLOAT_KINDS, findings)


def _build(
    dimension: type[Parameter],
    table: Mapping[str, Any],
    kinds: Mapping[str, ValueKind],
    findings: Findings,
) -> Parameter | None:
    before = len(findings.problems)
    values = read_dimension(table, kinds, findings)
    return dimension(**values) if len(findings.problems) == before else None


def _is_whole(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
