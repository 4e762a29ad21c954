"""Dimensions of a search space: Float, Int, Categorical and Fixed, each checked when created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict

from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import WRONG, Flag, Number, ValueKind, Whole, read_table
from hpo.spec.values.user_values import AnyScalar, Scalar, Scalars

Condition: TypeAlias = dict[str, tuple[Scalar, ...]]
When: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]

# Optuna stores every number as a double, which holds whole numbers exactly up to here.
_LARGEST_INT: Final = 2**53


class ConditionKind:
    """The kind of ``when``: for each parent the value or values for which the condition holds."""

    def read(self, value: Any, findings: Findings) -> Any:
        """Returns the allowed values by parent, or ``WRONG``."""
        if not isinstance(value, Mapping):
            findings.add(f"must be a table of parameters and values; found {show(value)}")
            return WRONG
        kind = Scalars(bare=True)
        read = {str(key): kind.read(v, findings.below(str(key))) for key, v in value.items()}
        return WRONG if any(item is WRONG for item in read.values()) else read


class _Dimension(BaseModel):
    """Base class of dimensions: the conditions under which one applies.

    Attributes:
        when: Allowed values by parent; all conditions must hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: Condition = {}

    def _table(self, **values: Any) -> dict[str, Any]:
        table = {name: value for name, value in values.items() if value not in (None, False)}
        if self.when:
            table["when"] = {
                parent: allowed[0] if len(allowed) == 1 else list(allowed)
                for parent, allowed in self.when.items()
            }
        return table


class Float(_Dimension):
    """A real number between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Sample in the log domain; ``low`` must be positive.
        step: Distance between values; None for a continuous parameter.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __init__(
        self,
        low: float,
        high: float,
        log: bool = False,
        step: float | None = None,
        when: When | None = None,
    ) -> None:
        table = {"low": low, "high": high, "log": log, "step": step, "when": when}
        super().__init__(**_checked("Float", table, FLOAT_KINDS))

    def contains(self, value: Any) -> bool:
        """Returns whether the parameter can take a value."""
        return _is_number(value) and self.low <= value <= self.high and _on_step(self, value)

    def to_table(self) -> dict[str, Any]:
        """Returns the dimension as a study file writes it, without defaults."""
        # Not through `_table`'s test for defaults: a bound of 0.0 equals False.
        bounds = {"low": self.low, "high": self.high}
        return {**bounds, **self._table(log=self.log, step=self.step)}


class Int(_Dimension):
    """A whole number between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Sample in the log domain; ``low`` must be positive.
        step: Distance between values; None for every whole number.
    """

    low: int
    high: int
    log: bool = False
    step: int | None = None

    def __init__(
        self,
        low: int,
        high: int,
        log: bool = False,
        step: int | None = None,
        when: When | None = None,
    ) -> None:
        table = {"low": low, "high": high, "log": log, "step": step, "when": when}
        super().__init__(**_checked("Int", table, INT_KINDS))

    def contains(self, value: Any) -> bool:
        """Returns whether the parameter can take a value."""
        inside = _is_number(value) and self.low <= value <= self.high
        return inside and (value - self.low) % (self.step or 1) == 0

    def to_table(self) -> dict[str, Any]:
        """Returns the dimension as a study file writes it, without defaults."""
        bounds = {"low": self.low, "high": self.high}
        return {**bounds, **self._table(log=self.log, step=self.step)}


class Categorical(_Dimension):
    """One of several values, which may be of different types: ``[32, 64, "full"]``.

    Attributes:
        choices: The values, all different.
    """

    choices: tuple[Scalar, ...]

    def __init__(self, choices: Sequence[Scalar], when: When | None = None) -> None:
        table = {"choices": choices, "when": when}
        super().__init__(**_checked("Categorical", table, CATEGORICAL_KINDS))

    def contains(self, value: Any) -> bool:
        """Returns whether the parameter can take a value."""
        return any(same(value, choice) for choice in self.choices)

    def to_table(self) -> dict[str, Any]:
        """Returns the dimension as a study file writes it, without defaults."""
        return self._table(choices=list(self.choices))


class Fixed(_Dimension):
    """A single value: the parameter is not searched.

    Attributes:
        value: The value that every trial gets.
    """

    value: Scalar

    def __init__(self, value: Scalar, when: When | None = None) -> None:
        table = {"value": value, "when": when}
        super().__init__(**_checked("Fixed", table, FIXED_KINDS))

    def contains(self, value: Any) -> bool:
        """Returns whether the parameter can take a value."""
        return same(value, self.value)

    def to_table(self) -> Scalar | dict[str, Any]:
        """Returns the dimension as a study file writes it: bare when it is unconditional."""
        return {"value": self.value, **self._table()} if self.when else self.value


Parameter: TypeAlias = Float | Int | Categorical | Fixed

_FLAG_AND_CONDITION: Final[Mapping[str, ValueKind]] = {"log": Flag(), "when": ConditionKind()}
_REQUIRED: Final = ("low", "high", "choices", "value")
_BOUND: Final = Whole(-_LARGEST_INT, _LARGEST_INT)
FLOAT_KINDS: Final[Mapping[str, ValueKind]] = {
    "low": Number(),
    "high": Number(),
    "step": Number(),
    **_FLAG_AND_CONDITION,
}
INT_KINDS: Final[Mapping[str, ValueKind]] = {
    "low": _BOUND,
    "high": _BOUND,
    "step": _BOUND,
    **_FLAG_AND_CONDITION,
}
CATEGORICAL_KINDS: Final[Mapping[str, ValueKind]] = {"choices": Scalars(), "when": ConditionKind()}
FIXED_KINDS: Final[Mapping[str, ValueKind]] = {"value": AnyScalar(), "when": ConditionKind()}


def same(value: Any, other: Any) -> bool:
    """Returns whether two values of a parameter are the same; 1 and 1.0 are, 1 and true are not."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def read_dimension(
    table: Mapping[str, Any], kinds: Mapping[str, ValueKind], findings: Findings
) -> dict[str, Any]:
    """Reads the arguments of one dimension, and records mistakes in and between them."""
    values = read_table(table, kinds, findings)
    for key in _REQUIRED:
        if key in kinds and table.get(key) is None:
            findings.add(f"{key} is missing")
    low, high = values.get("low"), values.get("high")
    if low is not None and high is not None and not low < high:
        findings.add(
            f"empty range: low must be below high; low is {show(low)}, high is {show(high)}"
        )
    if values.get("log") and low is not None and low <= 0:
        findings.add(f"log = true needs low > 0; low is {show(low)}")
    _check_step(values, findings)
    return values


def _check_step(values: Mapping[str, Any], findings: Findings) -> None:
    low, high, step = (values.get(key) for key in ("low", "high", "step"))
    if step is None:
        return
    if values.get("log"):
        findings.add("log = true and step exclude each other")
    if step <= 0:
        findings.add(f"step must be above 0; step is {show(step)}")
    elif low is not None and high is not None and low < high and step > high - low:
        findings.add(f"step {show(step)} does not fit between {show(low)} and {show(high)}")


def _checked(source: str, table: dict[str, Any], kinds: Mapping[str, ValueKind]) -> dict[str, Any]:
    findings = Findings((source,))
    values = read_dimension(table, kinds, findings)
    findings.raise_if_any(source, {source: table})
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _on_step(parameter: Float, value: float) -> bool:
    if parameter.step is None:
        return True
    steps = (Decimal(str(value)) - Decimal(str(parameter.low))) / Decimal(str(parameter.step))
    return abs(steps - round(steps)) < Decimal("1e-8")


def last_step(low: float, high: float, step: float | None) -> float:
    """Returns the last value up to ``high`` that whole steps from ``low`` reach, as Optuna does."""
    if step is None:
        return high
    # In decimals: (0.7 - 0.1) / 0.2 is less than 3 in binary.
    exact_low, exact_step = Decimal(str(low)), Decimal(str(step))
    n_steps = (Decimal(str(high)) - exact_low) // exact_step
    return float(exact_low + n_steps * exact_step)
