"""What a decision was made from, written down so that it can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hpo.search.curves import Curves, State
from hpo.search.decisions import Advance, Ask, Plan, Start
from hpo.search.encoding import Encoder
from hpo.search.history import History, TrialRow


@dataclass(frozen=True)
class Record:
    """One plan's question, and what was new since the same worker's plan before it.

    Attributes:
        changes: Number, state, epochs and target of each trial that has changed.
        ask: What was asked.
        note: ``Plan.note``.
    """

    changes: Sequence[Sequence[int]]
    ask: Ask
    note: Mapping[str, Any]

    @classmethod
    def of(cls, curves: Curves, before: Curves | None, ask: Ask, plan: Plan) -> Record:
        """Returns the record of a plan.

        Args:
            curves: What it was made from.
            before: What the worker's last plan was made from; None for its first one.
            ask: What was asked.
            plan: What was answered.
        """
        known = set() if before is None else {tuple(row) for row in _standing(before)}
        changes = [row for row in _standing(curves) if tuple(row) not in known]
        return cls(changes, ask, plan.note)

    def to_json(self) -> str:
        """Returns the record as text."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Reads what ``to_json`` wrote."""
        table = json.loads(text)
        ask = table["ask"]
        tuples = {name: tuple(ask[name]) for name in ("at_rung", "structural")}
        return cls(table["changes"], Ask(**{**ask, **tuples}), table["note"])


def _standing(curves: Curves) -> list[list[int]]:
    columns = (curves.numbers, curves.states, curves.epochs, curves.targets)
    standing: list[list[int]] = np.stack(columns, axis=1).tolist()
    return standing


def curves_at(
    records: Iterable[Record], rows: Iterable[TrialRow], encoder: Encoder, like: Curves
) -> Curves:
    """Returns the curves that a worker's last record was made from.

    Args:
        records: The worker's records, from its first one on.
        rows: The trials as they are now: later states, longer curves.
        encoder: The searched parameters.
        like: Any curves of the study, for horizon and direction.
    """
    standing: dict[int, tuple[State, int, int]] = {}
    for record in records:
        for number, state, epochs, target in record.changes:
            standing[number] = (State(state), epochs, target)
    history = History(encoder, like.horizon, like.maximize)
    for row in rows:
        if row.number in standing:
            history.put(_as_it_was(row, *standing[row.number]))
    return history.curves()


def _as_it_was(row: TrialRow, state: State, epochs: int, target: int) -> TrialRow:
    is_over = state in (State.COMPLETE, State.PRUNED, State.FAILED)
    return replace(
        row,
        state=state,
        values={epoch: value for epoch, value in row.values.items() if epoch <= epochs},
        epoch_stop=target,
        final=row.final if state == State.COMPLETE else None,
        diverged=row.diverged and is_over,
    )


def explained(assignment: Advance | Start) -> str:
    """Returns in words why a trial was begun or continued."""
    note = assignment.note
    what = "begun" if isinstance(assignment, Start) else "continued"
    goal = f"{what} up to epoch {assignment.epoch_stop}"
    match note.get("by"):
        case "model" if "mean" in note:
            return (
                f"{goal}: {note['horizon']} epochs on the model expects {note['mean']:.2f} "
                f"± {note['sd']:.2f} of it, and {note['incumbent']:.2f} is the best so far "
                f"(in standard deviations of all trials)"
            )
        case "chance":
            return f"{goal}: drawn at random, as a few trials always are"
        case "knowledge":
            return f"{goal}: a first point that has served other tasks"
        case "startup":
            return f"{goal}: one of the first points, spread evenly"
        case "rung":
            return f"{goal}: among the best at epoch {note['rung']}"
        case "closing":
            return f"{goal}: no new trial may begin, and this one may yet be the best"
        case other:
            return f"{goal}: by {other}"
