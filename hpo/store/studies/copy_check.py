"""Copy check: counts and checksums of a study and of its copy, table by table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hpo.store.studies import copy_rows
from hpo.store.studies.copy_rows import (
    EVENTS,
    HEADS,
    OF_STUDY,
    OF_TRIAL,
    SUGGESTIONS,
    WORKERS,
    Row,
    Side,
)


class Digest(NamedTuple):
    """The number of rows, and a checksum over all of them in their order."""

    n_rows: int
    checksum: str


class _Sum:
    def __init__(self) -> None:
        self._n = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._n += 1
            self._hash.update(repr(row).encode("utf-8", "surrogatepass"))

    def digest(self) -> Digest:
        return Digest(self._n, self._hash.hexdigest())


def digests(side: Side, on_trials: Callable[[int], None]) -> dict[str, Digest]:
    """Returns the digest of every table's rows of one study, but for `hpo_study`.

    Args:
        side: The study.
        on_trials: Called with the number of trials read, after each batch of them.
    """
    kinds = (HEADS, *OF_TRIAL, *OF_STUDY, WORKERS, EVENTS, SUGGESTIONS)
    sums = {kind.name: _Sum() for kind in kinds}
    for batch in copy_rows.batches(side):
        sums[HEADS.name].add(copy_rows.heads(side, batch))
        for kind in OF_TRIAL:
            sums[kind.name].add(copy_rows.of_trials(side, kind, batch))
        on_trials(len(batch))
    for kind in OF_STUDY:
        # The order of a study's rows has no meaning, and may differ between databases.
        sums[kind.name].add(sorted(copy_rows.of_study(side, kind), key=repr))
    sums[WORKERS.name].add(copy_rows.workers(side))
    for rows in copy_rows.events(side):
        sums[EVENTS.name].add(rows)
    for rows in copy_rows.suggestions(side):
        sums[SUGGESTIONS.name].add(rows)
    return {name: found.digest() for name, found in sums.items()}


def differences(source: dict[str, Digest], copy: dict[str, Digest]) -> list[str]:
    """Returns the differences, one line a table; empty when there are none."""
    found = []
    for name, wanted in source.items():
        n_wanted, n_there = wanted.n_rows, copy[name].n_rows
        if n_wanted != n_there:
            found.append(f"{name} has {n_there:,} rows, not {n_wanted:,}")
        elif wanted != copy[name]:
            found.append(f"{name} has as many rows ({n_wanted:,}), but other ones")
    return found
