"""Sentences about the influence of parameters, and what they rest on. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hpo.report.page.influence import Influence, is_number
from hpo.report.page.sentences import listed, name_of, trials
from hpo.report.text import formatting
from hpo.report.text.formatting import count

_FEWEST_BEST: Final = 5
_MOST_NAMED: Final = 3


def mattered(influence: Influence) -> str:
    """Returns which parameters mattered, or why that cannot be told."""
    if influence.obstacle:
        return f"It cannot be told which parameters mattered: {influence.obstacle}."
    visible, n = influence.visible, len(influence.trials.values)
    if not visible:
        return (
            f"Together, the parameters explain about {influence.explained:.0%} of the differences "
            f"between {trials(n)}, but the influence of no single one is more than chance."
        )
    first, *rest = [(name_of(param.name), param.share) for param in visible]
    text = f"{first[0]} mattered most ({first[1]:.0%} of the influence)"
    if rest:
        then = [f"{name} ({share:.0%})" for name, share in rest[:_MOST_NAMED]]
        text += f", then {listed(then)}"
    n_hidden = len(influence.params) - len(visible)
    if n_hidden:
        what = "parameter" if n_hidden == 1 else f"{n_hidden} parameters"
        text += f". Of the other {what}, no influence is visible in these trials"
    return f"{text}."


def basis(influence: Influence) -> str:
    """Returns what `mattered` rests on, for a note below it."""
    given = influence.trials
    after = "" if given.epoch is None else f", by their values after epoch {given.epoch}"
    which = "" if given.epoch is not None else "complete "
    n, n_all = len(given.values), given.n_all
    of = f" of {count(n_all)}" if n < n_all else ""
    return (
        f"Measured on {count(n)}{of} {which}trials{after}: a random forest forecasts the rank of "
        f"trials that it has not seen, and explains {influence.explained:.0%} of the differences. "
        "A parameter has influence if the forecasts get worse when its values are exchanged "
        "between trials. This holds for the values that the search has tried, and is no proof of a "
        "cause."
    )


def regions(influence: Influence) -> list[str]:
    """Returns where the best trials lie, for the parameters with the most influence."""
    given = influence.trials
    n_best = max(_FEWEST_BEST, round(0.1 * len(given.values)))
    sign = -1.0 if given.direction == "maximize" else 1.0
    order = sorted(range(len(given.values)), key=lambda i: sign * given.values[i])[:n_best]
    found = []
    for param in influence.visible[:_MOST_NAMED]:
        tried = [row[param.name] for row in given.params if param.name in row]
        best = [given.params[i][param.name] for i in order if param.name in given.params[i]]
        if best:
            found.append(_region(name_of(param.name), best, tried, n_best))
    return found


def _region(name: str, best: Sequence[Any], tried: Sequence[Any], n_best: int) -> str:
    of = "" if len(best) == n_best else f" (in {len(best)} of them)"
    if all(map(is_number, tried)):
        low, high = formatting.param(min(best)), formatting.param(max(best))
        at = low if low == high else f"{low} to {high}"
        all_of = f"{formatting.param(min(tried))} to {formatting.param(max(tried))}"
        return f"{name}: {at} in the best {n_best} trials{of}; {all_of} was tried"
    texts = [name_of(str(value)) for value in best]
    most = max(dict.fromkeys(texts), key=texts.count)
    n_choices = len({str(value) for value in tried})
    some = f"{texts.count(most)} of the best {n_best} trials"
    return f"{name}: {most} in {some}; {n_choices} values were tried"
