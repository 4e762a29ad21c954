"""Verdict: what the runs of a confirmation show, in a few fair sentences. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpo.report.confirmation.estimates import Estimate
from hpo.report.confirmation.seed_results import Comparison, ConfirmedTrial, SeedResults
from hpo.report.text import formatting

_MOST_NAMED: Final = 3


def verdict(results: SeedResults, metric: str, *, n_left: int, searched_first: int) -> str:
    """Returns what the runs show of the trials, and what they do not show.

    Args:
        results: Of the runs.
        metric: The objective's name.
        n_left: Runs that have not ended.
        searched_first: The number of the trial that the search has ranked first.
    """
    winner, n_runs = results.winner, sum(len(trial.runs) for trial in results.trials)
    if n_left:
        n_ended = n_runs - n_left
        return f"{n_ended} of {n_runs} runs have ended; until then nothing is confirmed."
    if winner is None or winner.estimate is None:
        return "No run was trained to the end, so nothing is confirmed."
    sentences = [
        _about_winner(results, winner, winner.estimate, metric),
        _about_search(results, winner, searched_first),
        _about_luck(results, winner, winner.estimate),
        _about_failures(results, n_runs),
    ]
    return " ".join(filter(None, sentences))


def interval(found: Estimate) -> str:
    """Writes the 95% interval of a mean: ``0.9846 to 0.9932``; ``-`` for one run."""
    if found.low is None or found.high is None:
        return "-"
    return f"{formatting.number(found.low)} to {formatting.number(found.high)}"


def probability(p: float | None) -> str:
    """Writes a p-value: ``0.021``, ``< 0.001``; ``-`` without one."""
    if p is None:
        return "-"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _about_winner(
    results: SeedResults, winner: ConfirmedTrial, found: Estimate, metric: str
) -> str:
    name, n_seeds = f"trial {winner.number}", _seeds(found.n)
    mean = f"{formatting.number(found.mean)}"
    if found.n > 1 and not results.has_noise:
        return (
            f"Every run of a trial gave the same value, {mean} for {name}: the training does not "
            "use its seed, so these runs say nothing about noise."
        )
    if found.n > 1:
        mean = f"{mean} (95% interval {interval(found)})"
    if len(results.trials) == 1:
        return f"Over {n_seeds}, the mean {metric} of {name} is {mean}."
    clear = [one for one in results.comparisons if one.is_significant]
    if len(clear) == len(results.trials) - 1:
        return (
            f"Trial {winner.number} is confirmed as the best: over {n_seeds} its mean {metric} is "
            f"{mean}, better than that of {_differences(clear)}."
        )
    best = f"Trial {winner.number} has the best mean {metric} over {n_seeds}, {mean}"
    return f"{best}{_about_others(results, clear)}"


def _about_others(results: SeedResults, clear: Sequence[Comparison]) -> str:
    """Says of which trials the winner can be told apart, and of which not."""
    pairs = [one for one in results.comparisons if one.test.n > 1]
    noisy = [one for one in pairs if one.p is not None and not one.is_significant]
    equal = [one for one in pairs if one.p is None]
    said = "."
    if noisy:
        said = (
            f", but its lead over {_differences(noisy)} is within the noise between seeds: these "
            "runs do not tell them apart."
        )
    if clear:
        said += f" It is better than {_differences(clear)}."
    if equal:
        said += (
            f" With every seed it is ahead by the same of {_differences(equal)}: no test applies."
        )
    if len(pairs) < len(results.trials) - 1:
        said += " Of the others, too few runs were complete to compare them."
    return said


def _about_search(results: SeedResults, winner: ConfirmedTrial, searched_first: int) -> str:
    if winner.number == searched_first or len(results.trials) == 1:
        return ""
    return f"The search had trial {searched_first} first."


def _about_luck(results: SeedResults, winner: ConfirmedTrial, found: Estimate) -> str:
    """Notes a value of the search that is better than the interval: the best of many is lucky."""
    value = winner.searched
    if value is None or found.low is None or found.high is None or not results.has_noise:
        return ""
    up = results.direction == "maximize"
    is_lucky = value > found.high if up else value < found.low
    if not is_lucky:
        return ""
    return (
        f"In the search it reached {formatting.number(value)}, {'above' if up else 'below'} this "
        "interval: the best of many trials is partly luck."
    )


def _about_failures(results: SeedResults, n_runs: int) -> str:
    n_failed = sum(trial.n_failed for trial in results.trials)
    if not n_failed:
        return ""
    which = [trial for trial in results.trials if trial.n_failed]
    listed = ", ".join(f"{trial.n_failed} of trial {trial.number}" for trial in which)
    return (
        f"{n_failed} of {n_runs} runs ended without a value ({listed}); the means are of the "
        "others, and flatter these trials."
    )


def _differences(comparisons: Sequence[Comparison]) -> str:
    named = [f"trial {one.number} ({_difference(one)})" for one in comparisons[:_MOST_NAMED]]
    n_more = len(comparisons) - len(named)
    if n_more:
        named.append(f"{n_more} more")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _difference(one: Comparison) -> str:
    difference = formatting.number(one.test.difference)
    if one.p is None:
        return difference
    p = probability(one.p)
    return f"{difference}, p {p}" if p.startswith("<") else f"{difference}, p = {p}"


def _seeds(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"
