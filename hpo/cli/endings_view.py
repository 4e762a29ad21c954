"""Endings view: lines about how trials ended other than by completion. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.report.endings_summary import Ending, Group, Message
from hpo.report.text import formatting
from hpo.report.text.printable import cell
from hpo.report.trials.ending_names import reason_name

LONGEST_MESSAGE = 200
N_LINES = 5
"""Maximum number of different messages or groups shown for one reason."""
N_NUMBERS = 6


def brief(message: str) -> str:
    """Returns the last line of a message, shortened to a readable length."""
    return cell(formatting.last_line(message), LONGEST_MESSAGE)


def lines(ending: Ending) -> list[tuple[str, str]]:
    """Returns the reason, the number of trials, and their messages by exception and place.

    Returns:
        Pairs of a name and a value, one a line; the reason is the name of the first.
    """
    name, n = reason_name(ending.kind), formatting.count(ending.n)
    groups = [group for group in ending.groups if any(each.message for each in group.messages)]
    if not groups:
        return [(name, n)]
    shown = [line for group in groups[:N_LINES] for line in _group(group)]
    if len(groups) > N_LINES:
        shown.append(f"and {len(groups) - N_LINES} other places: -f json")
    heads = [(name, f"{n:<5}"), *[("", " " * 5)] * (len(shown) - 1)]
    return [(head, f"{count} {line}") for (head, count), line in zip(heads, shown, strict=True)]


def _group(group: Group) -> list[str]:
    said = [each for each in group.messages if each.message]
    if len(said) == 1:
        place = f" ({cell(group.place, LONGEST_MESSAGE)})" if group.place else ""
        return [f"{_trials(group)}: {brief(said[0].message)}{place}"]
    if not group.exception:
        return [f"trial {each.number}: {brief(each.message)}{_times(each)}" for each in _few(said)]
    place = f" at {group.place}" if group.place else ""
    head = f"{_trials(group)}: {cell(group.exception + place, LONGEST_MESSAGE)}"
    own = [f"  {brief(_bare(each, group))}{_times(each)}" for each in _few(said)]
    more = [f"  and {len(said) - N_LINES} other messages: -f json"] * (len(said) > N_LINES)
    return [head, *own, *more]


def _few(said: Sequence[Message]) -> Sequence[Message]:
    return said[:N_LINES]


def _bare(message: Message, group: Group) -> str:
    """Returns a message without the exception, which stands above it."""
    return message.message.removeprefix(f"{group.exception}: ")


def _times(message: Message) -> str:
    return f" ({formatting.count(message.n)} times)" if message.n > 1 else ""


def _trials(group: Group) -> str:
    if group.n == 1:
        return f"trial {group.numbers[0]}"
    last = group.numbers[-N_NUMBERS:]
    numbers = ", ".join(map(str, last))
    if group.n == len(last):
        return f"trials {numbers}"
    return f"{formatting.count(group.n)} trials ({numbers} and others)"
