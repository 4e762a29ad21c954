"""Objectives with hpo.Run in workers: their epochs, pauses, and what a resumed one repeats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

import hpo
from hpo.run.link.context import WorkerContext
from hpo.run.trials.executor import Executor
from hpo.run.trials.objective_executor import ObjectiveExecutor
from hpo.run.worker.worker_loop import Worker
from hpo.spec.study_spec import StudySpec
from hpo.store.studies import resumption, study_budgets, study_records
from hpo.testing.executors import ExecutorTestCase

pytestmark = pytest.mark.integration
EPOCHS = 9


class RunTestCase(ExecutorTestCase):
    """An objective whose values follow from its param and its generators."""

    sampler, pruner = "auto", "auto"
    budget: dict[str, int] = {}  # noqa: RUF012
    stops_at: tuple[int, int] | None = None

    def spec(self) -> StudySpec:
        return StudySpec(
            name="run",
            objective="o.py:f",
            metric="loss",
            budget={"trials": self.n_trials, **self.budget},
            sampler={"name": self.sampler},
            pruner={"name": self.pruner},
        )

    def make_executor(self, context: WorkerContext, code: Callable[[], None]) -> Executor:
        def objective(trial: optuna.Trial) -> float:
            run = hpo.Run(trial)
            x = trial.suggest_float("x", 0, 1)
            torch.manual_seed(run.seed)
            noise = torch.zeros(1)
            notes = {"sum": 0.0}
            run.restore(notes=notes)
            code()
            for epoch in run.epochs(EPOCHS):
                noise = torch.rand(1)
                notes["sum"] += noise.item()
                if self.stops_at == (trial.number, epoch):
                    context.stop.set()
                run.report(loss=x + 1 / epoch + 0.001 * notes["sum"])
            return run.best

        return ObjectiveExecutor(context, objective)


class TestRunWithoutPruning(RunTestCase):
    """The suite of all executors, where every trial trains to its end."""

    sampler, pruner = "random", "none"

    def test_an_interrupted_trial_repeats_nothing_and_equals_an_uninterrupted_one(self) -> None:
        self.stops_at = (0, 4)
        assert Worker(*self.join()).run() == "interrupted"
        (first,) = self.trials()
        assert list(first.intermediate_values) == [1, 2, 3, 4]
        self.stops_at = None
        self.finish()
        resumed = self.trials()[0]
        x, seed = resumed.params["x"], self._seed_of(0)
        torch.manual_seed(seed)
        total, expected = 0.0, {}
        for epoch in range(1, EPOCHS + 1):
            total += torch.rand(1).item()
            expected[epoch] = x + 1 / epoch + 0.001 * total
        assert resumed.intermediate_values == expected
        assert resumed.value == min(expected.values())

    def test_a_trial_whose_checkpoint_is_lost_begins_again_and_reports_no_epoch_twice(self) -> None:
        self.stops_at = (0, 4)
        context, executor = self.join()
        assert Worker(context, executor).run() == "interrupted"
        Path(context.artifacts.checkpoint(0)).unlink()
        self.stops_at = None
        self.finish()
        assert list(self.trials()[0].intermediate_values) == list(range(1, EPOCHS + 1))

    def _seed_of(self, number: int) -> int:
        from hpo.search.base.derived_seeds import mix

        return mix(self.spec().seed, number)


class TestRunUnderTheDefaultSearch(RunTestCase):
    """Trials are paused and resumed; what the search leaves is pruned at the end."""

    n_trials = 12

    def finish(self) -> None:
        assert Worker(*self.join()).run() == "exhausted"
        states = [trial.state for trial in self.trials()]
        assert len(states) == self.n_trials
        assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert TrialState.COMPLETE in states

    def test_trials_are_trained_reported_and_settled(self) -> None:
        self.finish()
        found = self.trials()
        n_epochs = sum(len(trial.intermediate_values) for trial in found)
        assert n_epochs < 0.7 * EPOCHS * self.n_trials
        for trial in found:
            assert list(trial.intermediate_values) == list(
                range(1, len(trial.intermediate_values) + 1)
            )
        best = min(found, key=lambda trial: min(trial.intermediate_values.values()))
        assert best.state == TrialState.COMPLETE
        assert best.params["x"] < 0.2

    def test_the_loop_announces_its_epochs_to_the_study(self) -> None:
        self.finish()
        context, _ = self.join()
        assert resumption.resumes(context.db, context.study.study_id) is True
        assert study_records.load(context.db, "run").budget.epochs == EPOCHS
        assert not list((self._folder / "artifacts").glob("*/checkpoints/*"))

    def test_an_updated_budget_of_epochs_counts_for_the_loop(self) -> None:
        self.stops_at = (3, 1)
        context, executor = self.join()
        assert Worker(context, executor).run() == "interrupted"
        self.stops_at = None
        fewer = lambda record: record.budget.model_copy(update={"epochs": 4})  # noqa: E731
        study_budgets.change(context.db, context.study.study_id, fewer)
        self.finish()
        later = [trial for trial in self.trials() if trial.number > 3]
        assert max(len(trial.intermediate_values) for trial in later) == 4

    # The suite counts complete trials; those that the search leaves are pruned here.
    test_a_failure_of_user_code_is_recorded_as_such = None  # type: ignore[assignment]
    test_a_failure_of_hpo_is_recorded_as_internal = None  # type: ignore[assignment]
    test_an_outage_of_the_database_loses_no_trial = None  # type: ignore[assignment]


class TestRunWithABudgetOfEpochs(TestRunUnderTheDefaultSearch):
    """The budget of all epochs is never exceeded."""

    budget = {"total_epochs": 40, "epochs": 6}  # noqa: RUF012

    def finish(self) -> None:
        assert Worker(*self.join()).run() == "exhausted"

    def test_trials_are_trained_reported_and_settled(self) -> None:
        self.finish()
        lengths = [len(trial.intermediate_values) for trial in self.trials()]
        assert 30 < sum(lengths) <= 40
        assert max(lengths) == 6

    def test_the_loop_announces_its_epochs_to_the_study(self) -> None:
        self.finish()
        context, _ = self.join()
        assert study_records.load(context.db, "run").budget.epochs == 6
