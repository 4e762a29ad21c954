"""Epoch collection: whole epochs from rows, each once, in order and counted from 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpo.run.scripts.report_rows import ReportRow


@dataclass(frozen=True)
class CollectedEpoch:
    """An epoch of which all of the study's metrics are known.

    Attributes:
        number: From 1.
        metrics: All that was said of it by then.
    """

    number: int
    metrics: Mapping[str, float]


@dataclass
class EpochCollection:
    """Puts rows together to epochs.

    Several rows may tell of one epoch, as Lightning's do: one has the values of training, another
    those of validation. An epoch is whole as soon as it has all metrics of the study. A script
    whose first row has epoch 0 counts from 0. One that does not count at all is counted for.

    Attributes:
        required: The study's metrics.
        reported: Epochs that the database has.
        counts_on: Whether a script that does not count continues after what it has reported in
            its folder; otherwise it begins again, and what it said before says nothing of it.
        first_new: Number of the first epoch after ``begin``, from 1, as the script counts; None
            until it is known, or if the script does not count.
        names: All metrics that were seen.
    """

    required: Sequence[str]
    reported: int
    counts_on: bool
    first_new: int | None = None
    names: set[str] = field(default_factory=set)
    _shift: int | None = None
    _n_uncounted: int = 0
    _last: int = 0
    _has_begun: bool = False
    _parts: dict[int, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = self.reported

    @property
    def last(self) -> int:
        """The last epoch that is whole."""
        return self._last

    def begin(self) -> None:
        """Notes that the script begins now: rows until here were written before."""
        self._has_begun = True
        self._parts.clear()

    def number_of(self, epoch: int) -> int:
        """Returns the number, from 1, of an epoch as the script counts."""
        if self._shift is None:
            self._shift = 1 if epoch == 0 else 0
        return epoch + self._shift

    def add(self, row: ReportRow) -> CollectedEpoch | None:
        """Adds a row; returns the epoch that is whole and new by it, if one is."""
        self.names |= row.metrics.keys()
        if row.epoch is not None:
            number = self.number_of(row.epoch)
            if self._has_begun and self.first_new is None:
                self.first_new = number
        elif self._is_whole(row.metrics) and (self._has_begun or self.counts_on):
            self._n_uncounted += 1
            number = self._n_uncounted
        else:
            # A part of an epoch that nothing ties to the others.
            return None
        if number <= self._last:
            return None
        metrics = self._parts.setdefault(number, {})
        metrics.update(row.metrics)
        if not self._is_whole(metrics):
            return None
        self._last = number
        self._parts = {n: part for n, part in self._parts.items() if n > number}
        return CollectedEpoch(number, dict(metrics))

    def _is_whole(self, metrics: Mapping[str, float]) -> bool:
        return all(name in metrics for name in self.required)
