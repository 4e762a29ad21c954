"""Solo engine: one trial at a time in plain PyTorch, the reference for other engines."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from hpo.train.criteria import Criterion
from hpo.train.data.batch import Tensors
from hpo.train.data.loading.loaded_splits import AnySplits, LoadedSplits
from hpo.train.data.splits import Splits
from hpo.train.engine import EpochReport, Failure, Lane, PartEngine
from hpo.train.epoch_scores import Score, is_spent
from hpo.train.evaluation import AnyPart, evaluate, measure, outputs_of
from hpo.train.loop import checkpoint as files
from hpo.train.loop.checkpoint import BestWeights, Checkpoint, Last, resume
from hpo.train.loop.training import Training, begin
from hpo.train.recipe.precision import products
from hpo.train.recipe.random_streams import derive, seeded
from hpo.train.task import Task
from hpo.train.user_code_guard import attempt, user_code


class _SoloLane:
    """A lane and how far it has come."""

    def __init__(
        self, lane: Lane, training: Training, best: BestWeights, last: Last | None
    ) -> None:
        self.lane = lane
        self.training = training
        self.best = best
        self.last = last
        self.is_failed = False

    @property
    def is_spent(self) -> bool:
        """Whether its patience is over."""
        training = self.training
        return is_spent(training.params, training.epoch, self.best.epoch)

    @property
    def precision(self) -> str:
        """How trials compute, as in ``hpo.train.recipe.precision``."""
        return str(self.training.params["precision"])


class SoloEngine(PartEngine):
    """Trains one lane.

    Args:
        task: The task; its ``setup`` was called.
        splits: Its data, moved to the device once; of each fold where there are several.
        metric: What the best epoch is best in, ``val_accuracy``; or all metrics of the study, of
            which that is the first.
        direction: ``maximize`` or ``minimize``.
        device: As PyTorch names it: ``cpu``, ``cuda:0``, ``mps``.
    """

    name = "solo"

    def __init__(
        self,
        task: Task,
        splits: AnySplits | Sequence[AnySplits],
        metric: str | tuple[str, ...],
        direction: str,
        device: str = "cpu",
    ) -> None:
        self._task = task
        self._device = torch.device(device)
        given = (splits,) if isinstance(splits, Splits | LoadedSplits) else tuple(splits)
        self._folds = tuple(one.to(self._device) for one in given)
        self._capacity = 1
        self._score = Score.of(metric, direction)
        self._criterion = Criterion.of(task, self._folds[0], self._score.metrics)
        self._lanes: dict[int, _SoloLane] = {}
        self._lane_epochs = 0

    @property
    @override
    def lane_epochs(self) -> int:
        return self._lane_epochs

    @property
    @override
    def stack_epochs(self) -> int:
        """As many as lanes have trained."""
        return self._lane_epochs

    @property
    @override
    def capacity(self) -> int:
        return self._capacity

    @override
    def add(self, lane: Lane) -> Failure | None:
        if len(self._lanes) >= self.capacity:
            raise ValueError(f"the engine has no place for lane {lane.key}")
        built = attempt(lambda: self._resume(lane) or self._begin(lane))
        if isinstance(built, Failure):
            return built
        self._lanes[lane.key] = built
        return None

    @override
    def advance(self) -> list[EpochReport]:
        reports = [self._advance(solo) for solo in self._lanes.values() if not solo.is_failed]
        self._lane_epochs += len(reports)
        return reports

    @override
    def epoch(self, key: int) -> int:
        return self._lanes[key].training.epoch

    @override
    def save(self, key: int, path: Path) -> None:
        self.checkpoint(key).save(path)

    @override
    def dump(self, key: int) -> bytes:
        return self.checkpoint(key).dump()

    def checkpoint(self, key: int) -> Checkpoint:
        """Returns everything needed to resume a lane, in this engine or another."""
        solo = self._lanes[key]
        training = solo.training
        return Checkpoint(
            seed=solo.lane.seed,
            params=files.plain(solo.lane.params.asdict()),
            epoch=training.epoch,
            horizon=training.horizon,
            model=training.model.state_dict(),
            optimizer=training.optimizer.state_dict(),
            best=solo.best,
            last=solo.last,
            average=training.average,
            scaler=training.scaler.state_dict() if training.scaler else {},
        )

    @override
    def test(self, key: int) -> dict[str, float]:
        outputs = self.outputs(key)
        return {} if outputs is None else self.measure(key, outputs)

    @override
    def outputs(self, key: int) -> Tensors | None:
        solo = self._lanes[key]
        test = self._folds[solo.lane.fold].test
        if test is None or not solo.best.epoch:
            return None
        model = solo.training.model
        current = files.to_cpu(model.state_dict())
        model.load_state_dict(solo.best.weights)
        try:
            with user_code("the task"), self._prepared(solo):
                return outputs_of(model, test, solo.training.params, self._task.prepare)
        finally:
            model.load_state_dict(current)

    @override
    def measure(self, key: int, outputs: Tensors) -> dict[str, float]:
        solo = self._lanes[key]
        test = self._folds[solo.lane.fold].test
        assert test is not None
        with user_code("the task"), self._prepared(solo):
            return measure(self._criterion, solo.training.params, outputs, test, "test")

    @override
    def best(self, key: int) -> tuple[int, dict[str, float]]:
        best = self._lanes[key].best
        return best.epoch, dict(best.metrics)

    @override
    def serve(self, n_parts: int) -> None:
        self._capacity = n_parts
        self._score = replace(self._score, keeps=False)

    @override
    def keep(self, key: int, metrics: dict[str, float]) -> None:
        training = self._lanes[key].training
        weights = files.to_cpu({**training.model.state_dict(), **training.average})
        self._lanes[key].best = BestWeights(training.epoch, metrics, weights)

    @override
    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        solo = self._lanes[key]
        files.export(solo.best, solo.training.params.asdict(), path, about)

    @override
    def remove(self, key: int) -> None:
        if self._lanes.pop(key, None) and self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _begin(self, lane: Lane) -> _SoloLane:
        training = self._build(lane, lane.horizon or lane.epoch_stop)
        return _SoloLane(lane, training, BestWeights(0, {}, {}), None)

    def _resume(self, lane: Lane) -> _SoloLane | None:
        """Resumes a lane; returns None without a checkpoint that can be used."""

        def load(saved: Checkpoint) -> _SoloLane:
            training = self._build(lane, saved.horizon)
            training.load(saved.model, saved.optimizer, saved.epoch, saved.average, saved.scaler)
            return _SoloLane(lane, training, saved.best, saved.last)

        return resume(lane, load)

    def _build(self, lane: Lane, horizon: int) -> Training:
        return begin(
            self._task, self._folds[lane.fold], lane.params, lane.seed, horizon, self._device
        )

    def _advance(self, solo: _SoloLane) -> EpochReport:
        training = solo.training
        if solo.last and (training.epoch >= solo.lane.epoch_stop or solo.is_spent):
            key, is_over = solo.lane.key, solo.is_spent
            return EpochReport(key, training.epoch, **asdict(solo.last), is_spent=is_over)
        number, began_at = training.epoch + 1, time.perf_counter()
        n_train = len(self._folds[solo.lane.fold].train)
        measured = attempt(lambda: self._train_and_evaluate(solo))
        metrics = {} if isinstance(measured, Failure) else measured
        seconds = time.perf_counter() - began_at
        last = Last(metrics, training.learning_rate, seconds, n_train / seconds)
        judged = attempt(lambda: self._score.judge(metrics, number))
        failure = measured if isinstance(measured, Failure) else judged
        if failure is None:
            solo.last = last
            self._keep_best(solo, metrics)
        solo.is_failed = failure is not None
        return EpochReport(
            solo.lane.key, number, **asdict(last), failure=failure, is_spent=solo.is_spent
        )

    def _train_and_evaluate(self, solo: _SoloLane) -> dict[str, float]:
        training, splits = solo.training, self._folds[solo.lane.fold]
        with self._prepared(solo):
            train_loss = training.train_epoch(splits.train)
            if not math.isfinite(train_loss):
                return {"train_loss": train_loss}
            with training.averaged():
                measured = self._evaluate(solo, splits.val, "val")
        return {"train_loss": train_loss, **measured}

    def _evaluate(self, solo: _SoloLane, part: AnyPart, prefix: str) -> dict[str, float]:
        training = solo.training
        return evaluate(self._criterion, training.params, training.model, part, prefix)

    def _keep_best(self, solo: _SoloLane, metrics: dict[str, float]) -> None:
        if self._score.is_better(metrics, solo.best.metrics):
            self.keep(solo.lane.key, metrics)

    @contextmanager
    def _prepared(self, solo: _SoloLane) -> Iterator[None]:
        training = solo.training
        seed = derive(training.seed, "noise", training.epoch)
        with seeded(seed, self._device), products(solo.precision, self._device):
            yield
