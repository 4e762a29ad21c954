"""Used distributions: the distribution that a study uses for each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, check_distribution_compatibility

from hpo.store.rows import study_rows, trial_reader

MAX_REMEMBERED = 10_000
"""Trials whose study, and parameters whose distribution, are remembered: some megabytes."""

Params = Mapping[str, tuple[float, BaseDistribution]]
"""Name -> (value in Optuna's internal representation, distribution)."""

Items = Iterable[tuple[int, Params]]
"""(trial_id, params) of some trials."""


class UsedDistributions:
    """The distributions of studies, remembered so that setting a parameter needs one statement.

    They can be wrong only where SQLite gave the ids of a study that another process deleted to a
    new one. So a conflict is looked up in the database before it is raised. In that case a
    distribution may be accepted that only the older study would have accepted.
    """

    def __init__(self) -> None:
        self._study_of: dict[int, int] = {}
        self._used: dict[tuple[int, str], BaseDistribution] = {}

    def forget(self, study_id: int) -> None:
        """Forgets a study that was deleted or has just been created."""
        self._study_of = {t: s for t, s in self._study_of.copy().items() if s != study_id}
        self._used = {key: d for key, d in self._used.copy().items() if key[0] != study_id}

    def remember(self, study_of: Mapping[int, int], items: Items = ()) -> None:
        """Keeps the study of trials, and the distributions that were just written for them."""
        # Forgetting everything at once is rare and cheap: each is looked up when it is needed.
        if len(self._study_of) > MAX_REMEMBERED:
            self._study_of = {}
        if len(self._used) > MAX_REMEMBERED:
            self._used = {}
        self._study_of.update(study_of)
        for trial_id, params in items:
            for name, (_, distribution) in params.items():
                self._used[study_of[trial_id], name] = distribution

    def all_known(self, items: Items) -> bool:
        """Returns whether each distribution is known to be compatible with the study's."""
        return all(
            self._knows(self._study_of.get(trial_id, -1), name, distribution)
            for trial_id, params in items
            for name, (_, distribution) in params.items()
        )

    def check(self, connection: sa.Connection, study_of: Mapping[int, int], items: Items) -> None:
        """Compares distributions with those that the studies use, and with one another.

        Raises:
            ValueError: Two of them are incompatible.
        """
        accepted: dict[tuple[int, str], BaseDistribution] = {}
        for trial_id, params in items:
            study_id = study_of[trial_id]
            for name, (_, distribution) in params.items():
                used = accepted.get((study_id, name))
                if used is None and not self._knows(study_id, name, distribution):
                    text = study_rows.distribution_of(connection, study_id, name)
                    used = None if text is None else trial_reader.parse_distribution(text)
                if used is not None and used is not distribution:
                    check_distribution_compatibility(used, distribution)
                accepted[study_id, name] = used or distribution

    def _knows(self, study_id: int, name: str, distribution: BaseDistribution) -> bool:
        used = self._used.get((study_id, name))
        if used is None or used is distribution:
            return used is not None
        try:
            check_distribution_compatibility(used, distribution)
        except ValueError:
            return False
        return True
