"""Structures: the few combinations of structural values that a batch's new points share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpo.search.base.coordinates import SAME
from hpo.search.base.curves import Bools, Floats
from hpo.search.base.param_encoding import Encoder

_TRIALS_PER_STRUCTURE = 16


class Structures:
    """Which combinations of structural values the new points of one plan may have.

    The first new points choose freely; once a batch has as many structures as it should, the
    rest of it shares them.

    Args:
        encoder: The searched parameters.
        names: The structural ones.
        required: Values that new points must have; None to choose.
        n_places: Size of the batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        names: Sequence[str],
        required: Mapping[str, Any] | None,
        n_places: int,
    ) -> None:
        self._encoder = encoder
        wanted = set(required or names)
        self._columns = [j for j, name in enumerate(encoder.names) if name in wanted]
        self._n_allowed = max(1, math.ceil(n_places / _TRIALS_PER_STRUCTURE))
        self._chosen: list[Floats] = []
        if required is not None and self._columns:
            self._n_allowed = 1
            self._chosen.append(encoder.encode([required])[0, self._columns])

    @property
    def _is_closed(self) -> bool:
        return bool(self._columns) and len(self._chosen) >= self._n_allowed

    def fitted(self, rows: Floats, rng: np.random.Generator) -> Floats:
        """Returns rows moved to allowed structures, snapped; unchanged while all are allowed."""
        if not self._is_closed or not len(rows):
            return rows
        values = np.stack(self._chosen)[rng.integers(len(self._chosen), size=len(rows))]
        moved = rows.copy()
        # A structural parameter that does not apply in the chosen structure is NaN there.
        moved[:, self._columns] = np.where(np.isnan(values), 0.0, values)
        other = np.isnan(moved)
        moved[other] = rng.random(int(other.sum()))
        return self._encoder.snap(moved)

    def allow(self, rows: Floats) -> Bools:
        """Returns which rows have an allowed structure, [N]."""
        if not self._is_closed:
            return np.ones(len(rows), dtype=bool)
        return self._is_chosen(rows)

    def count(self, row: Floats) -> None:
        """Notes the structure of a point that was chosen, [1, P]."""
        if self._columns and not self._is_chosen(row).all():
            self._chosen.append(row[0, self._columns])

    def _is_chosen(self, rows: Floats) -> Bools:
        is_chosen = np.zeros(len(rows), dtype=bool)
        for values in self._chosen:
            # -1 stands for not applying, which is no coordinate.
            apart = np.nan_to_num(rows[:, self._columns], nan=-1.0) - np.nan_to_num(
                values, nan=-1.0
            )
            is_chosen |= (np.abs(apart) < SAME).all(axis=1)
        return is_chosen
