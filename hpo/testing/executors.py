"""Conformance suite for executors: what every ``Executor`` has to do, as pytest tests.

Subclass it in a test module; say which study is run, and how an executor is made::

    from hpo.testing.executors import ExecutorTestCase

    class TestMyExecutor(ExecutorTestCase):
        def spec(self):
            return StudySpec(name="s", ..., budget={"trials": self.n_trials})

        def make_executor(self, context, code):
            return MyExecutor(context, code)

Each test works on a study of its own in a SQLite file. ``ResumableExecutorTestCase`` is for
executors whose trials are resumed from checkpoints.
"""

from __future__ import annotations

import io
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import InternalError
from hpo.run.link.context import WorkerContext
from hpo.run.trials.executor import Executor
from hpo.run.worker.compose import open_context
from hpo.run.worker.supervisor_pipe import SupervisorPipe, WorkerOrder
from hpo.run.worker.worker_loop import Worker
from hpo.spec.study_spec import StudySpec
from hpo.store.db.opening import open_database
from hpo.store.rows import events
from hpo.store.studies import studies

TrialCode: TypeAlias = Callable[[WorkerContext], None]


def _nothing(context: WorkerContext) -> None:
    pass


class ExecutorTestCase(ABC):
    """Tests of an executor under the loop of a worker.

    Attributes:
        n_trials: Trials of the study.
    """

    n_trials: ClassVar[int] = 4

    @abstractmethod
    def spec(self) -> StudySpec:
        """Returns the study: ``n_trials`` short trials of one objective, and no pruner."""

    @abstractmethod
    def make_executor(self, context: WorkerContext, code: Callable[[], None]) -> Executor:
        """Returns an executor.

        Args:
            context: The study, its ledger and its search.
            code: Called by the user's code of each trial when it begins; it may raise.
        """

    @pytest.fixture(autouse=True)
    def study(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A study that no worker has joined."""
        monkeypatch.setenv("HPO_SPOOL", str(tmp_path / "outbox"))
        self._folder = tmp_path
        self._contexts: list[WorkerContext] = []
        db = open_database(self._url, create=True)
        studies.create_or_join(db, self.spec(), None)
        db.dispose()
        yield
        for context in self._contexts:
            context.db.dispose()

    @property
    def _url(self) -> str:
        return f"sqlite:///{self._folder / 'study.db'}"

    def join(self, code: TrialCode = _nothing) -> tuple[WorkerContext, Executor]:
        """Registers another worker of the study.

        Args:
            code: Called in each trial that it begins.
        """
        order = WorkerOrder(
            url=self._url,
            study_name=self.spec().name,
            artifacts=str(self._folder / "artifacts"),
            allow=(),
            base_dir=None,
        )
        context = open_context(order, SupervisorPipe(io.StringIO()), threading.Event())
        self._contexts.append(context)
        return context, self.make_executor(context, lambda: code(context))

    def trials(self) -> list[FrozenTrial]:
        """Returns the study's trials as they are in the database."""
        return self.join()[0].search.trials()

    def events_of(self, kind: str) -> list[str]:
        """Returns the messages of the study's events of a kind."""
        context, _ = self.join()
        found = events.since(context.db, context.study.study_id, 0, kind)
        return [event.message for event in found]

    def finish(self) -> None:
        """Runs the rest of the study by another worker: no trial is lost, none is one too many."""
        assert Worker(*self.join()).run() == "exhausted"
        assert [trial.state for trial in self.trials()] == [TrialState.COMPLETE] * self.n_trials

    def test_trials_are_trained_reported_and_settled(self) -> None:
        """After the last, nothing is held, and each trial has a value."""
        context, executor = self.join()
        assert executor.held == frozenset()
        assert executor.wanted > 0
        assert Worker(context, executor).run() == "exhausted"
        assert executor.held == frozenset()
        found = self.trials()
        assert [trial.state for trial in found] == [TrialState.COMPLETE] * self.n_trials
        assert all(trial.value is not None for trial in found)

    def test_a_trial_is_held_by_one_worker_only(self) -> None:
        """And trials that two workers release are trained by a third."""
        (_, one), (_, other) = self.join(), self.join()
        for executor in (one, other):
            executor.begin(executor.claim().leases)
        assert one.held
        assert not one.held & other.held
        for executor in (one, other):
            executor.release()
            assert executor.held == frozenset()
        self.finish()

    def test_a_failure_of_user_code_is_recorded_as_such(self) -> None:
        """It ends one trial, and the others are trained."""
        context, executor = self.join(_raises_once(ValueError("broken on purpose")))
        assert Worker(context, executor).run() == "exhausted"
        states = [trial.state for trial in self.trials()]
        assert states.count(TrialState.FAIL) == 1
        assert states.count(TrialState.COMPLETE) == self.n_trials - 1
        (message,) = self.events_of("user_code")
        assert "ValueError: broken on purpose" in message
        assert not self.events_of("internal")

    def test_a_failure_of_hpo_is_recorded_as_internal(self) -> None:
        """The user's code is not to blame."""
        context, executor = self.join(_raises_once(InternalError("broken on purpose")))
        assert Worker(context, executor).run() == "exhausted"
        assert [trial.state for trial in self.trials()].count(TrialState.FAIL) == 1
        assert len(self.events_of("internal")) == 1
        assert not self.events_of("user_code")

    def test_a_worker_that_is_told_to_stop_releases_its_trials(self) -> None:
        """They are trained by another worker."""
        context, executor = self.join(lambda context: context.stop.set())
        assert Worker(context, executor).run() == "interrupted"
        assert executor.held == frozenset()
        assert len(self.trials()) < self.n_trials
        self.finish()

    def test_an_outage_of_the_database_loses_no_trial(self) -> None:
        """It begins while a trial runs; the trial and those after it are complete in the end."""
        failures: list[Exception] = [ConnectionError("away")]

        def fail(context: WorkerContext) -> None:
            if failures:
                context.client.note_failure(failures.pop())

        context, executor = self.join(fail)
        assert Worker(context, executor).run() == "exhausted"
        assert [trial.state for trial in self.trials()] == [TrialState.COMPLETE] * self.n_trials
        assert len(self.events_of("outage")) == 1


class ResumableExecutorTestCase(ExecutorTestCase):
    """Tests of an executor that trains a trial by more than one ``work``, and resumes it."""

    def test_a_released_trial_is_resumed_from_its_checkpoint(self) -> None:
        """Its next epoch is the one after the last that was reported."""
        _, first = self.join()
        first.begin(first.claim().leases)
        first.work()
        held = first.held
        assert held
        first.release()
        _, second = self.join()
        leases = [lease for lease in second.claim().leases if lease.trial_id in held]
        assert leases
        assert all(lease.epoch == 1 for lease in leases)
        assert all(lease.checkpoint and Path(lease.checkpoint).exists() for lease in leases)
        second.begin(leases)
        second.work()
        second.release()
        steps = {trial.number: list(trial.intermediate_values) for trial in self.trials()}
        assert all(steps[lease.number] == [1, 2] for lease in leases)
        self.finish()


def _raises_once(error: Exception) -> TrialCode:
    errors = [error]

    def code(context: WorkerContext) -> None:
        if errors:
            raise errors.pop()

    return code
