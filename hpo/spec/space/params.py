"""Params: one point of a search space, the values that a trial trains with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpo.errors import did_you_mean


class Params(Mapping[str, Any]):
    """Immutable values by name, readable as attributes: ``params.depth``.

    The names that were read are recorded, so that a parameter which the task never reads can be
    reported before any trial is spent on it.

    Args:
        values: Value of each parameter; names are valid Python identifiers.
    """

    __slots__ = ("_read", "_values")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_values", dict(values or {}))
        object.__setattr__(self, "_read", set())

    _values: dict[str, Any]
    _read: set[str]

    @property
    def read(self) -> frozenset[str]:
        """Names that have been read."""
        return frozenset(self._read)

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._read.add(name)
        try:
            return self._values[name]
        except KeyError:
            hint = did_you_mean(name, self._values)
            raise AttributeError(f"the params have no {name}{hint}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"params are immutable; cannot set {name}")

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"Params({inside})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._values == other._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __reduce__(self) -> tuple[type[Params], tuple[dict[str, Any]]]:
        return (Params, (self.asdict(),))

    def asdict(self) -> dict[str, Any]:
        """Returns a copy of the values; records no reads."""
        return dict(self._values)

    def with_defaults(self, defaults: Mapping[str, Any]) -> Params:
        """Returns params with ``defaults`` for missing names.

        Reads of the new params are recorded here too.
        """
        filled = Params({**defaults, **self._values})
        object.__setattr__(filled, "_read", self._read)
        return filled
