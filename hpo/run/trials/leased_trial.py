"""Leased trial: the Optuna trial of an objective, which ends with its lease."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution

from hpo.errors import HpoError
from hpo.run.link.context import WorkerContext
from hpo.run.link.retry import DATABASE_ERRORS
from hpo.run.link.watchdog import overtime
from hpo.run.trials.search_errors import SearchFailed, asked_pruner, search_failed
from hpo.run.trials.worker_backend import WorkerBackend
from hpo.tracebacks import passes_through

_SAMPLERS: Final = (
    Path(optuna.samplers.__file__).parent,
    Path(optuna.search_space.__file__).parent,
)
_SEARCH: Final = Path(__file__).parents[2] / "search"


class LeaseLost(Exception):
    """Raised inside an objective whose trial another worker has taken over."""


class OutOfTime(Exception):
    """Raised inside an objective that takes longer than a trial may; the message says so."""


class LeasedStudy(optuna.Study):
    """The study of a trial, whose ``stop`` lets the trial end and begins no other.

    Attributes:
        is_stopped: Whether it was called.
    """

    def __init__(self, study: optuna.Study) -> None:
        # A study reads the database when it is made, and this one has been.
        self.__dict__.update(study.__dict__)
        self.is_stopped = False

    def stop(self) -> None:
        """Ends the study after the trials that run."""
        self.is_stopped = True


class LeasedTrial(optuna.Trial):
    """An Optuna trial that ends once its lease is lost, its time is up, or its study has ended.

    Args:
        trial_id: The trial.
        context: The worker's place.
        make_backend: Makes what stands behind an ``hpo.Run`` of this trial; called at most once.

    Attributes:
        failure: What the sampler has raised; the objective may have caught it.
        good_enough: A value that it has reported and that has ended the study; else None.
        backend: Of its ``hpo.Run``; None where the objective has none.

    Raises:
        SearchFailed: The sampler raises.
    """

    def __init__(
        self,
        trial_id: int,
        context: WorkerContext,
        make_backend: Callable[[optuna.Trial], WorkerBackend],
    ) -> None:
        self._context = context
        self._make_backend = make_backend
        self.backend: WorkerBackend | None = None
        self.failure: SearchFailed | None = None
        self.good_enough: float | None = None
        self.own_study = LeasedStudy(context.search.study_for(trial_id))
        try:
            super().__init__(self.own_study, trial_id)
        except Exception as error:
            self._blame_sampler(error)
            raise

    def trial_backend(self) -> WorkerBackend:
        """Returns what stands behind an ``hpo.Run`` of this trial."""
        if self.backend is None:
            self.backend = self._make_backend(self)
        return self.backend

    def report(self, value: float, step: int) -> None:
        """Reports an intermediate value, as Optuna does.

        Raises:
            LeaseLost: Another worker has this trial now.
            OutOfTime: The trial has taken longer than it may.
        """
        if self._trial_id in self._context.client.lost:
            raise LeaseLost
        super().report(value, step)
        self._require_time()
        context = self._context
        if self.good_enough is None and context.reaches_target(float(value)):
            study_id = context.study.study_id
            if context.client.try_call(lambda: context.ledger.finish_if_reported(study_id), True):
                context.ending, self.good_enough = "target", float(value)

    def should_prune(self) -> bool:
        """Returns whether the pruner would stop the trial, or the study has ended or was stopped.

        Raises:
            OutOfTime: The trial has taken longer than it may.
        """
        self._require_time()
        if self._context.ending:
            return True
        if len(self.own_study.directions) > 1:
            # Optuna says that it knows no pruning with several.
            return super().should_prune()
        return asked_pruner(self._context, super().should_prune, otherwise=False)

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        try:
            return super()._suggest(name, distribution)
        except Exception as error:
            self._blame_sampler(error)
            raise

    def _blame_sampler(self, error: Exception) -> None:
        """Raises ``SearchFailed`` for an exception that comes from a sampler."""
        if isinstance(error, HpoError | DATABASE_ERRORS[1]):
            return
        if passes_through(error, (*_SAMPLERS, _SEARCH)):
            self.failure = search_failed(self._context, error)
            raise self.failure from error

    def _require_time(self) -> None:
        late = overtime(self._context.watchdog.seconds, None, self._context.trial_s)
        if late:
            raise OutOfTime(late)
