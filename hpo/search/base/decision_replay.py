"""Records: what a decision was made from, stored so that it can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hpo.search.base.curves import Curves, Ints, State
from hpo.search.base.decisions import Ask, Note, Plan
from hpo.search.base.grants import Granted
from hpo.search.base.history import History, ObservedTrial
from hpo.search.base.param_encoding import Encoder


@dataclass(frozen=True)
class Record:
    """One plan's question, and what was new since the plan before it that the worker recorded.

    Attributes:
        changes: Number, state, epochs, target, and whether its params were known, of each trial
            that has changed.
        ask: What was asked.
        note: ``Plan.note``.
        memory: ``Plan.memory``, or that of the proposal after it.
        horizon: Most epochs of a trial at that time; 0 for what the curves say.
        epochs_left: Of the study's budget; None for any number.
        is_planned: Whether there was a plan: where trials never pause, only params are asked for.
        drawn: Numbers whose params were drawn for themselves, after the plan or without one.
        granted: What the worker was given.
        space: The searched parameters as ``Encoder.to_table`` has them, where an objective has told
            them and they have changed since the worker's last record; else None.
    """

    changes: Sequence[Sequence[int]]
    ask: Ask
    note: Note
    memory: Note = field(default_factory=dict)
    horizon: int = 0
    epochs_left: int | None = None
    is_planned: bool = True
    drawn: tuple[int, ...] = ()
    granted: tuple[Granted, ...] = ()
    space: Note | None = None

    @classmethod
    def of(cls, curves: Curves, before: Curves | None, ask: Ask, plan: Plan) -> Record:
        """Returns the record of a plan.

        Args:
            curves: What it was made from.
            before: What the worker's last record was made from; None for its first one.
            ask: What was asked.
            plan: What was answered.
        """
        changes = _changes(curves, before).tolist()
        return cls(changes, ask, plan.note, plan.memory, curves.horizon)

    def to_json(self) -> str:
        """Returns the record as text."""
        # Not by asdict, which copies every number: there are thousands in a first record.
        table = {**vars(self), "ask": vars(self.ask)}
        return json.dumps(table, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Reads what ``to_json`` wrote."""
        table = json.loads(text)
        ask = table["ask"]
        tuples = {name: tuple(ask[name]) for name in ("at_rung", "structural")}
        lists = {
            "ask": Ask(**{**ask, **tuples}),
            "drawn": tuple(table["drawn"]),
            "granted": tuple(Granted(*one) for one in table["granted"]),
        }
        return cls(**{**table, **lists})


def _status(curves: Curves) -> Ints:
    columns = (curves.numbers, curves.states, curves.epochs, curves.targets, curves.has_point)
    return np.stack(columns, axis=1).astype(np.int64)


def _changes(curves: Curves, before: Curves | None) -> Ints:
    now = _status(curves)
    if before is None or not len(before):
        return now
    then = _status(before)
    rows = np.minimum(before.rows_of(curves.numbers), len(before) - 1)
    changed: Ints = now[(then[rows] != now).any(axis=1)]
    return changed


def curves_at(
    records: Iterable[Record], rows: Iterable[ObservedTrial], encoder: Encoder, *, maximize: bool
) -> Curves:
    """Returns the curves that a worker's last record was made from.

    Args:
        records: The worker's records, from its first one on; there is at least one.
        rows: The trials as they are now: later states, longer curves.
        encoder: The searched parameters.
        maximize: Whether larger values are better.
    """
    status: dict[int, tuple[State, int, int, bool]] = {}
    horizon = 0
    for record in records:
        horizon = record.horizon
        for number, state, epochs, target, is_drawn in record.changes:
            status[number] = (State(state), epochs, target, bool(is_drawn))
    history = History(encoder, horizon, maximize)
    for row in rows:
        if row.number in status:
            history.put(_as_of_then(row, *status[row.number]))
    return history.curves()


def encoder_at(records: Iterable[Record]) -> Encoder:
    """Returns the encoder that the last record of an objective's worker was made with.

    Args:
        records: As for ``curves_at``.
    """
    tables = [record.space for record in records if record.space is not None]
    return Encoder.of_table(tables[-1]) if tables else Encoder(())


def _as_of_then(
    row: ObservedTrial, state: State, epochs: int, target: int, is_drawn: bool
) -> ObservedTrial:
    is_over = state in (State.COMPLETE, State.PRUNED, State.FAILED)
    # Until the first report of an objective's trial its plan counted: see ``ObservedTrial``.
    params = row.planned if row.planned and not epochs and not is_over else row.params
    return replace(
        row,
        state=state,
        params=params if is_drawn else {},
        values={epoch: value for epoch, value in row.values.items() if epoch <= epochs},
        epoch_stop=target,
        final=row.final if state == State.COMPLETE else None,
        diverged=row.diverged and is_over,
    )
