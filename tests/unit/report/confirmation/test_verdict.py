"""The verdict says what the runs show, and no more than that."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hpo.report.confirmation.seed_results import ConfirmedTrial, RunResult, SeedResults
from hpo.report.confirmation.verdict import verdict

SEEDS = (11, 12, 13, 14, 15)


def _trial(number: int, values: list[float | None], searched: float = 0.9) -> ConfirmedTrial:
    runs = tuple(
        RunResult(i, seed, "FAIL" if value is None else "COMPLETE", value)
        for i, (seed, value) in enumerate(zip(SEEDS, values, strict=False))
    )
    return ConfirmedTrial(number, {}, searched, runs)


def _said(*trials: ConfirmedTrial, first: int = 4, n_left: int = 0, up: bool = True) -> str:
    results = SeedResults.of("maximize" if up else "minimize", trials)
    return verdict(results, "val_accuracy", n_left=n_left, searched_first=first)


CLEAR = _trial(4, [0.91, 0.92, 0.90, 0.93, 0.91])
WORSE = _trial(7, [0.81, 0.80, 0.82, 0.81, 0.79])
CLOSE = _trial(2, [0.92, 0.90, 0.91, 0.90, 0.92])


def test_a_clear_winner_is_confirmed() -> None:
    p = stats.ttest_rel(CLEAR.values, WORSE.values).pvalue
    assert p < 0.001
    low, high = stats.t.interval(0.95, 4, np.mean(CLEAR.values), stats.sem(CLEAR.values))
    assert _said(WORSE, CLEAR) == (
        "Trial 4 is confirmed as the best: over 5 seeds its mean val_accuracy is 0.9140 "
        f"(95% interval {low:.4f} to {high:.4f}), better than that of trial 7 (0.1080, p < 0.001)."
    )


def test_a_lead_within_the_noise_is_called_so() -> None:
    p = stats.ttest_rel(CLEAR.values, CLOSE.values).pvalue
    said = _said(CLOSE, CLEAR)
    assert said.startswith("Trial 4 has the best mean val_accuracy over 5 seeds, 0.9140 (95% ")
    assert said.endswith(
        f"), but its lead over trial 2 (0.0040, p = {p:.2f}) is within the noise between seeds: "
        "these runs do not tell them apart."
    )


def test_p_values_are_corrected_for_all_pairs() -> None:
    trials = [CLEAR, CLOSE, WORSE]
    pairs = [(a, b) for i, a in enumerate(trials) for b in trials[i + 1 :]]
    ps = sorted(stats.ttest_rel(a.values, b.values).pvalue for a, b in pairs)
    by_holm = np.maximum.accumulate(np.minimum(1, np.array(ps) * [3, 2, 1]))
    found = SeedResults.of("maximize", trials).comparisons
    assert [one.number for one in found] == [2, 7]
    own = [stats.ttest_rel(CLEAR.values, other.values).pvalue for other in (CLOSE, WORSE)]
    assert [one.p for one in found] == pytest.approx([by_holm[ps.index(p)] for p in own])


def test_losses_are_better_when_they_are_smaller() -> None:
    said = _said(CLEAR, WORSE, first=4, up=False)
    assert said.startswith("Trial 7 is confirmed as the best")
    assert said.endswith("The search had trial 4 first.")


def test_a_lucky_value_of_the_search_is_called_so() -> None:
    said = _said(_trial(4, [0.91, 0.92, 0.90, 0.93, 0.91], searched=0.97))
    assert said.startswith("Over 5 seeds, the mean val_accuracy of trial 4 is 0.9140 (95% ")
    assert said.endswith(
        "In the search it reached 0.9700, above this interval: the best of many trials is partly "
        "luck."
    )


def test_runs_that_ended_without_a_value_are_counted() -> None:
    said = _said(WORSE, _trial(4, [0.91, None, 0.90, 0.93, None]))
    assert "over 3 seeds" in said
    assert said.endswith(
        "2 of 10 runs ended without a value (2 of trial 4); the means are of the others, and "
        "flatter these trials."
    )
    assert _said(_trial(4, [None, None])) == (
        "No run was trained to the end, so nothing is confirmed."
    )


def test_training_without_a_seed_is_noticed() -> None:
    said = _said(_trial(4, [0.9] * 5), _trial(7, [0.8] * 5))
    assert said == (
        "Every run of a trial gave the same value, 0.9000 for trial 4: the training does not use "
        "its seed, so these runs say nothing about noise."
    )


def test_nothing_is_confirmed_on_the_way() -> None:
    waiting = RunResult(9, 15, "WAITING", None)
    trial = ConfirmedTrial(4, {}, 0.9, (*CLEAR.runs[:4], waiting))
    assert _said(trial, n_left=1) == "4 of 5 runs have ended; until then nothing is confirmed."
