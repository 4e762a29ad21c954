"""Grants: the trials that a worker was given after a plan of the search, and why."""

from __future__ import annotations

from typing import Final, NamedTuple

from hpo.search.base.decisions import Note

_REASONS: Final = {
    "chance": "drawn at random, as a few trials always are",
    "knowledge": "a first point that has served other tasks",
    "values": "a model of the values at the last epoch proposed it",
    "startup": "one of the first points, spread evenly or varied",
    "closing": "no new trial can begin, and this one may yet be the best",
    "last": "the study is nearly over, and one trial should be complete",
    "anew": "the params were drawn for it alone, from all that was reported",
    "enqueued": "it was waiting, enqueued or put aside before it began",
    "interrupted": "it had been interrupted on the way there",
}


class Granted(NamedTuple):
    """A trial that a worker was given after a plan.

    Attributes:
        number: The trial.
        epoch: Where it stood.
        epoch_stop: Up to which epoch it was given.
        is_new: It began with that.
        note: Why.
    """

    number: int
    epoch: int
    epoch_stop: int
    is_new: bool
    note: Note


def explained(granted: Granted) -> str:
    """Returns in words why a trial was begun or continued."""
    note = granted.note
    what = "continued" if granted.epoch else "begun"
    goal = f"{what} up to epoch {granted.epoch_stop}"
    by = note.get("by")
    if by == "model" and "mean" in note:
        return (
            f"{goal}: {note['horizon']} epochs on the model expects {note['mean']:.2f} "
            f"± {note['sd']:.2f} of it, and {note['incumbent']:.2f} is the best so far "
            f"(in standard deviations of all trials)"
        )
    if by == "rung":
        return f"{goal}: among the best at epoch {note['rung']}"
    return f"{goal}: {_REASONS.get(str(by), f'by {by}')}"
