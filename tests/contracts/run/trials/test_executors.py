"""Our executors under the suite that all executors pass."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
import torch
from torch import nn

import hpo
from hpo.run.assignment.scheduling import make_assigner
from hpo.run.link.context import WorkerContext
from hpo.run.trials.executor import Executor
from hpo.run.trials.objective_executor import ObjectiveExecutor
from hpo.run.trials.task_executor import TaskExecutor
from hpo.spec.study_spec import StudySpec
from hpo.testing.executors import ExecutorTestCase, ResumableExecutorTestCase
from hpo.train.loop.solo import SoloEngine

pytestmark = pytest.mark.integration


class Points(hpo.Task):
    """Twelve points on a line; its model runs the code of a test."""

    metric, direction = "val_loss", "minimize"

    def __init__(self, code: Callable[[], None]) -> None:
        self._code = code

    def data(self) -> hpo.Data:
        x = torch.linspace(0, 1, 12)[:, None]
        return hpo.Data.split(x, 2 * x)

    def model(self, params: hpo.Params) -> nn.Module:
        self._code()
        return nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))


class TestTaskExecutor(ResumableExecutorTestCase):
    def spec(self) -> StudySpec:
        return StudySpec(
            name="task",
            task="points.py:Points",
            metric="val_loss",
            direction="minimize",
            budget={"trials": self.n_trials, "epochs": 3},
            space={"learning_rate": {"low": 0.001, "high": 0.1}},
            sampler={"name": "random"},
            pruner={"name": "none"},
        )

    def make_executor(self, context: WorkerContext, code: Callable[[], None]) -> Executor:
        task = Points(code)
        engine = SoloEngine(task, task.data().splits(), "val_loss", "minimize")
        return TaskExecutor(context, engine, make_assigner(context))


class TestObjectiveExecutor(ExecutorTestCase):
    def spec(self) -> StudySpec:
        return StudySpec(
            name="objective",
            objective="o.py:f",
            budget={"trials": self.n_trials},
            sampler={"name": "random"},
            pruner={"name": "none"},
        )

    def make_executor(self, context: WorkerContext, code: Callable[[], None]) -> Executor:
        def objective(trial: optuna.Trial) -> float:
            x = trial.suggest_float("x", 0, 1)
            code()
            trial.report(x, 1)
            return x

        return ObjectiveExecutor(context, objective)
