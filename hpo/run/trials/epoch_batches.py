"""Epochs on their way to the database: short ones are written together."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hpo.run.link.context import WorkerContext
from hpo.store.ledger.leases import EpochRow, Lease
from hpo.train.engine import EpochReport

REPORT_S: Final = 0.25
"""How long epochs may wait to be written, for others to be written along with them."""


class EpochBatcher:
    """What the lanes of a worker have reported and is not written yet.

    Args:
        context: The study, and the line to its database.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._rows: list[EpochRow] = []
        self._first_noted_at = 0.0

    def note(self, reports: Sequence[EpochReport], leases: Mapping[int, Lease]) -> None:
        """Keeps the epochs of lanes that have not failed, until they are written."""
        if not self._rows:
            self._first_noted_at = time.monotonic()
        self._rows += [
            self._row(report, leases[report.key].token)
            for report in reports
            if report.failure is None
        ]

    @property
    def is_due(self) -> bool:
        """Whether what was noted has waited long enough.

        A stack of small models has dozens of epochs a second.
        """
        return time.monotonic() - self._first_noted_at > REPORT_S

    def write(self, held: Collection[int]) -> set[int]:
        """Writes what was noted of lanes that are still held.

        Returns:
            Keys of the lanes whose lease is lost.

        Raises:
            StoreError: No waiting mends this.
        """
        rows = [row for row in self._rows if row.trial_id in held]
        self._rows = []
        return self._context.client.report(rows) if rows else set()

    def _row(self, report: EpochReport, token: int) -> EpochRow:
        metrics = self._context.study.spec.metrics
        single = len(metrics) == 1
        return EpochRow(
            trial_id=report.key,
            token=token,
            epoch=report.epoch,
            metrics=report.metrics,
            objective=report.metrics[metrics[0]] if single else None,
            learning_rate=report.learning_rate,
            seconds=report.seconds,
            samples_per_s=report.samples_per_s,
        )
