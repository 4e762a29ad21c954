"""Seed results: what trials reach when they are trained again with new seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from hpo.report.confirmation.estimates import ALPHA, Estimate, PairedTest, estimate, holm, paired
from hpo.store.studies.trial_states import FINISHED


@dataclass(frozen=True)
class RunResult:
    """One training of a trial with a new seed.

    Attributes:
        number: Of the run, among the trials of the confirmation.
        state: One of `hpo.store.studies.trial_states.STATES`.
        value: What it reached; None unless it is complete, and for values that are not finite.
        reason: Why it ended, if that was not completion.
        test: Its metrics on test data.
    """

    number: int
    seed: int
    state: str
    value: float | None
    reason: str | None = None
    test: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ConfirmedTrial:
    """A trial of the search with its runs.

    Attributes:
        number: The trial's number in the search.
        params: Value of every parameter.
        searched: The value that the search knows of it.
        runs: One a seed.
    """

    number: int
    params: Mapping[str, Any]
    searched: float | None
    runs: tuple[RunResult, ...]

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """Values of its complete runs, by seed."""
        return {run.seed: run.value for run in self.runs if run.value is not None}

    @property
    def values(self) -> tuple[float, ...]:
        """Values of its complete runs, in the order of the seeds."""
        return tuple(self.by_seed.values())

    @cached_property
    def estimate(self) -> Estimate | None:
        """The mean of its values with its interval; None while there are no values."""
        return estimate(self.values)

    @property
    def n_failed(self) -> int:
        """How many runs have ended without a value."""
        return sum(run.state in FINISHED and run.value is None for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """The winner compared with another trial.

    Attributes:
        number: Of the other trial, in the search.
        test: The paired test; its difference is positive where the winner is better.
        p: Corrected by Holm's method for all pairs of trials; None without a test.
    """

    number: int
    test: PairedTest
    p: float | None

    @property
    def is_significant(self) -> bool:
        """Whether the winner is better by more than noise between seeds explains."""
        return self.p is not None and self.p < ALPHA and self.test.difference > 0


@dataclass(frozen=True)
class SeedResults:
    """Trials with their runs, and how they compare.

    Attributes:
        direction: ``maximize`` or ``minimize``.
        trials: The best mean first; those without values last.
    """

    direction: str
    trials: tuple[ConfirmedTrial, ...]

    @classmethod
    def of(cls, direction: str, trials: Iterable[ConfirmedTrial]) -> SeedResults:
        """Returns the results of trials in any order."""
        sign = -1.0 if direction == "maximize" else 1.0

        def rank(trial: ConfirmedTrial) -> tuple[float, int]:
            found = trial.estimate
            return (math.inf if found is None else sign * found.mean, trial.number)

        return cls(direction, tuple(sorted(trials, key=rank)))

    @property
    def winner(self) -> ConfirmedTrial | None:
        """The trial with the best mean."""
        first = self.trials[0] if self.trials else None
        return first if first is not None and first.estimate is not None else None

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The winner compared with each other trial that has a seed in common with it.

        The winner was chosen by the same values, so the correction is for all pairs, of which
        these are some.
        """
        sign = 1.0 if self.direction == "maximize" else -1.0
        signed = [{s: sign * v for s, v in trial.by_seed.items()} for trial in self.trials]
        pairs = [
            (i, j, paired(signed[i], signed[j])) for i, j in combinations(range(len(signed)), 2)
        ]
        tests = [(i, j, test) for i, j, test in pairs if test is not None]
        corrected = holm([test.p for _, _, test in tests])
        return tuple(
            Comparison(self.trials[j].number, test, p)
            for (i, j, test), p in zip(tests, corrected, strict=True)
            if i == 0
        )

    @property
    def has_noise(self) -> bool:
        """Whether the values of some trial differ between its seeds."""
        return any(len(set(trial.values)) > 1 for trial in self.trials)
