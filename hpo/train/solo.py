"""The reference engine: one trial at a time, plain PyTorch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hpo.train import checkpoint as files
from hpo.train.boundary import attempt, user_code
from hpo.train.checkpoint import Best, Checkpoint, Last
from hpo.train.engine import EpochReport, Failure, Lane
from hpo.train.evaluation import evaluate
from hpo.train.precision import products
from hpo.train.resuming import resume
from hpo.train.scoring import Score
from hpo.train.seeds import derive, seeded
from hpo.train.task import Task
from hpo.train.training import Training, begin

if TYPE_CHECKING:
    from hpo.train.data import Splits


class _Solo:
    """A lane and how far it has come."""

    def __init__(self, lane: Lane, training: Training, best: Best, last: Last | None) -> None:
        self.lane = lane
        self.training = training
        self.best = best
        self.last = last
        self.is_failed = False

    @property
    def precision(self) -> str:
        """See ``hpo.train.precision``."""
        return str(self.training.params["precision"])


class SoloEngine:
    """Trains one lane; see ``Engine``.

    Args:
        task: The task; its ``setup`` was called.
        splits: Its data, moved to the device once.
        metric: What the best epoch is best in: ``val_accuracy``.
        direction: ``maximize`` or ``minimize``.
        device: As PyTorch names it: ``cpu``, ``cuda:0``, ``mps``.
    """

    name = "solo"
    capacity = 1

    def __init__(
        self, task: Task, splits: Splits, metric: str, direction: str, device: str = "cpu"
    ) -> None:
        self._task = task
        self._device = torch.device(device)
        self._splits = splits.to(self._device)
        self._score = Score(metric, direction)
        self._lanes: dict[int, _Solo] = {}
        self.lane_epochs = 0

    @property
    def stack_epochs(self) -> int:
        """As many as of lanes."""
        return self.lane_epochs

    def add(self, lane: Lane) -> Failure | None:
        """See ``Engine``."""
        if len(self._lanes) >= self.capacity:
            raise ValueError(f"the engine has no place for lane {lane.key}")
        built = attempt(lambda: self._resume(lane) or self._begin(lane))
        if isinstance(built, Failure):
            return built
        self._lanes[lane.key] = built
        return None

    def advance(self) -> list[EpochReport]:
        """See ``Engine``."""
        reports = [self._advance(solo) for solo in self._lanes.values() if not solo.is_failed]
        self.lane_epochs += len(reports)
        return reports

    def epoch(self, key: int) -> int:
        """See ``Engine``."""
        return self._lanes[key].training.epoch

    def save(self, key: int, path: Path) -> None:
        """See ``Engine``."""
        solo = self._lanes[key]
        training = solo.training
        Checkpoint(
            seed=solo.lane.seed,
            params=files.plain(solo.lane.params.asdict()),
            epoch=training.epoch,
            horizon=training.horizon,
            model=training.model.state_dict(),
            optimizer=training.optimizer.state_dict(),
            best=solo.best,
            last=solo.last,
        ).save(path)

    def test(self, key: int) -> dict[str, float]:
        """See ``Engine``."""
        solo, test = self._lanes[key], self._splits.test
        if test is None or not solo.best.epoch:
            return {}
        model = solo.training.model
        current = files.to_cpu(model.state_dict())
        model.load_state_dict(solo.best.weights)
        try:
            with user_code("the task"), self._prepared(solo):
                return evaluate(self._task, model, test, "test", solo.precision)
        finally:
            model.load_state_dict(current)

    def best(self, key: int) -> tuple[int, dict[str, float]]:
        """See ``Engine``."""
        best = self._lanes[key].best
        return best.epoch, dict(best.metrics)

    def export(self, key: int, path: Path) -> None:
        """See ``Engine``."""
        solo = self._lanes[key]
        files.export(solo.best, solo.training.params.asdict(), path)

    def remove(self, key: int) -> None:
        """See ``Engine``."""
        if self._lanes.pop(key, None) and self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _begin(self, lane: Lane) -> _Solo:
        training = self._build(lane, lane.horizon or lane.epoch_stop)
        return _Solo(lane, training, Best(0, {}, {}), None)

    def _resume(self, lane: Lane) -> _Solo | None:
        """Goes on from a checkpoint; returns None where there is none to be used."""

        def load(saved: Checkpoint) -> _Solo:
            training = self._build(lane, saved.horizon)
            training.load(saved.model, saved.optimizer, saved.epoch)
            return _Solo(lane, training, saved.best, saved.last)

        return resume(lane, load)

    def _build(self, lane: Lane, horizon: int) -> Training:
        return begin(self._task, self._splits, lane.params, lane.seed, horizon, self._device)

    def _advance(self, solo: _Solo) -> EpochReport:
        training = solo.training
        if training.epoch >= solo.lane.epoch_stop and solo.last:
            return EpochReport(solo.lane.key, training.epoch, **asdict(solo.last))
        number, began_at = training.epoch + 1, time.perf_counter()
        measured = attempt(lambda: self._train_and_evaluate(solo))
        metrics = {} if isinstance(measured, Failure) else measured
        seconds = time.perf_counter() - began_at
        last = Last(metrics, training.learning_rate, seconds, len(self._splits.train) / seconds)
        failure = measured if isinstance(measured, Failure) else self._score.judge(metrics, number)
        if failure is None:
            solo.last = last
            self._keep_best(solo, metrics)
        solo.is_failed = failure is not None
        return EpochReport(solo.lane.key, number, **asdict(last), failure=failure)

    def _train_and_evaluate(self, solo: _Solo) -> dict[str, float]:
        training = solo.training
        with self._prepared(solo):
            train_loss = training.train_epoch(self._splits.train)
            if not math.isfinite(train_loss):
                return {"train_loss": train_loss}
            val = self._splits.val
            measured = evaluate(self._task, training.model, val, "val", solo.precision)
        return {"train_loss": train_loss, **measured}

    def _keep_best(self, solo: _Solo, metrics: dict[str, float]) -> None:
        if self._score.is_better(metrics, solo.best.metrics):
            weights = files.to_cpu(solo.training.model.state_dict())
            solo.best = Best(solo.training.epoch, metrics, weights)

    @contextmanager
    def _prepared(self, solo: _Solo) -> Iterator[None]:
        training = solo.training
        seed = derive(training.seed, "noise", training.epoch)
        with seeded(seed, self._device), products(solo.precision, self._device):
            yield
