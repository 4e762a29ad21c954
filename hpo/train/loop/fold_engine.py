"""Fold engine: trials of several parts, one for each fold and seed, in another engine.

Each part is a lane of the inner engine. A trial's metrics are the means over its parts, epoch by
epoch, so that it is pruned, paused and compared as one.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from hpo.spec.study_spec import ValidationSpec
from hpo.train.engine import Engine, EpochReport, Failure, Lane, PartEngine
from hpo.train.epoch_scores import Score, is_spent
from hpo.train.loop import checkpoint as files
from hpo.train.loop.checkpoint import CheckpointError
from hpo.train.loop.ensemble import means, measured
from hpo.train.recipe.random_streams import derive

logger = logging.getLogger(__name__)

FORMAT: Final = "parts-1"
SPREAD: Final = "_std"
"""Ends the name under which the spread of the study's metric over the parts is reported."""


def spread_of(metrics: Mapping[str, float], metric: str) -> dict[str, float]:
    """Returns the standard deviation of a trial's parts as ``spread``; nothing for a single one."""
    spread = metrics.get(metric + SPREAD)
    return {} if spread is None else {"spread": spread}


@dataclass
class _FoldedTrial:
    """A trial and how far its parts have come together."""

    lane: Lane
    keys: tuple[int, ...]
    epoch: int = 0
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    last: dict[str, Any] | None = None
    is_failed: bool = False

    @property
    def is_spent(self) -> bool:
        return is_spent(self.lane.params, self.epoch, self.best_epoch)

    @property
    def is_over(self) -> bool:
        has_stopped = self.epoch >= self.lane.epoch_stop or self.is_spent
        return self.is_failed or (has_stopped and self.last is not None)


def with_parts(
    engine: PartEngine, spec: ValidationSpec, metrics: tuple[str, ...], direction: str
) -> Engine:
    """Returns an engine whose trials have the parts that a study asks for.

    Args:
        engine: With the data of each fold; it holds no lanes yet.
        spec: Says how many folds and seeds.
        metrics: Of the study.
        direction: Of the first metric.
    """
    if spec.n_parts == 1:
        return engine
    return FoldEngine(engine, metrics, direction, spec.folds or 1, spec.seeds)


class FoldEngine(Engine):
    """Trains each trial on every fold, from every seed.

    Args:
        inner: Trains the parts; it holds no lanes yet.
        metrics: Of the study; the best epoch is best in the mean of the first.
        direction: ``maximize`` or ``minimize``.
        n_folds: Folds of the inner engine's data.
        n_seeds: So often each fold is trained.
    """

    def __init__(
        self,
        inner: PartEngine,
        metrics: tuple[str, ...],
        direction: str,
        n_folds: int,
        n_seeds: int,
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._score = Score.of(metrics, direction)
        self._parts = [(fold, seed) for seed in range(n_seeds) for fold in range(n_folds)]
        self._trials: dict[int, _FoldedTrial] = {}
        self._next_key = 0
        inner.serve(len(self._parts))

    @property
    @override
    def lane_epochs(self) -> int:
        """Epochs that parts of trials have trained so far."""
        return self._inner.lane_epochs

    @property
    @override
    def stack_epochs(self) -> int:
        return self._inner.stack_epochs

    @property
    @override
    def capacity(self) -> int:
        return max(1, self._inner.capacity // len(self._parts))

    @override
    def add(self, lane: Lane) -> Failure | None:
        if lane.key in self._trials or len(self._trials) >= self.capacity:
            raise ValueError(f"the engine has no place for lane {lane.key}")
        trial, kept = self._resumed(lane) or (self._fresh(lane), ())
        for i, part in enumerate(self._lanes(trial, kept)):
            failure = self._inner.add(part)
            if failure is not None:
                self._remove(trial.keys[:i])
                return failure
        behind = [key for key in trial.keys if self._inner.epoch(key) != trial.epoch]
        if behind:
            # A part that cannot be resumed starts anew; so do the others then.
            self._remove(trial.keys)
            return self.add(replace(lane, checkpoint=None, epoch=0))
        self._trials[lane.key] = trial
        return None

    @override
    def advance(self) -> list[EpochReport]:
        """Trains and evaluates every part of every trial for one epoch."""
        reports = [self._again(one) for one in self._trials.values() if one.is_over and one.last]
        going = [trial for trial in self._trials.values() if not trial.is_over]
        owners = {key: trial for trial in going for key in trial.keys}
        found: dict[int, EpochReport] = {}
        while going and (new := self._inner.advance()):
            fresh = [r for r in new if r.key in owners and r.epoch > owners[r.key].epoch]
            found |= {report.key: report for report in fresh}
            done = [trial for trial in going if _is_through(trial, found)]
            reports += [
                self._close(trial, [found[k] for k in trial.keys if k in found]) for trial in done
            ]
            going = [trial for trial in going if trial not in done]
        return reports

    @override
    def epoch(self, key: int) -> int:
        return self._trials[key].epoch

    @override
    def best(self, key: int) -> tuple[int, dict[str, float]]:
        """Returns the best epoch, and the means of its metrics over the parts."""
        trial = self._trials[key]
        return trial.best_epoch, dict(trial.best_metrics)

    @override
    def test(self, key: int) -> dict[str, float]:
        """Returns ``test_*`` metrics of the models of all parts together."""
        return measured(self._inner, self._trials[key].keys)

    @override
    def save(self, key: int, path: Path) -> None:
        trial = self._trials[key]
        parts = [files.read(self._inner.dump(part)) for part in trial.keys]
        values = {
            "format": FORMAT,
            "seed": trial.lane.seed,
            "params": files.plain(trial.lane.params.asdict()),
            "epoch": trial.epoch,
            "best_epoch": trial.best_epoch,
            "best_metrics": trial.best_metrics,
            "last": trial.last,
            "parts": parts,
        }
        files.write(values, path)

    @override
    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Writes ``state_dict`` and ``parts`` among others.

        ``state_dict`` is the model of the first fold and seed; ``parts`` holds those of all.
        """
        trial = self._trials[key]
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for part in trial.keys:
                self._inner.export(part, Path(folder) / "model.pt")
                found.append(files.read(Path(folder) / "model.pt"))
        models = [one["state_dict"] for one in found]
        params = {**found[0]["params"], **files.plain(trial.lane.params.asdict())}
        values = {"params": params, "epoch": trial.best_epoch, "metrics": trial.best_metrics}
        files.write({"state_dict": models[0], **values, "parts": models, **(about or {})}, path)

    @override
    def remove(self, key: int) -> None:
        trial = self._trials.pop(key, None)
        if trial is not None:
            self._remove(trial.keys)

    def _remove(self, keys: Sequence[int]) -> None:
        for key in keys:
            self._inner.remove(key)

    def _fresh(self, lane: Lane) -> _FoldedTrial:
        first = self._next_key
        self._next_key += len(self._parts)
        return _FoldedTrial(lane, tuple(range(first, self._next_key)))

    def _lanes(self, trial: _FoldedTrial, kept: Sequence[bytes]) -> list[Lane]:
        """Returns the parts of a trial, each with what is kept of it, if anything is."""
        lane = trial.lane
        # Whether patience is over is told by all parts together.
        params = type(lane.params)({**lane.params.asdict(), "patience": 0})
        return [
            replace(
                lane,
                key=key,
                params=params,
                seed=derive(lane.seed, "part", seed) if seed else lane.seed,
                fold=fold,
                epoch=trial.epoch,
                checkpoint=kept[i] if kept else None,
            )
            for i, (key, (fold, seed)) in enumerate(zip(trial.keys, self._parts, strict=True))
        ]

    def _resumed(self, lane: Lane) -> tuple[_FoldedTrial, Sequence[bytes]] | None:
        """Returns a trial as its checkpoint has it, and those of its parts."""
        if lane.checkpoint is None:
            if lane.epoch:
                logger.warning("lane %d has no checkpoint; it starts from epoch 0", lane.key)
            return None
        try:
            saved = files.read(lane.checkpoint)
            wanted = (FORMAT, lane.seed, files.plain(lane.params.asdict()), len(self._parts))
            found = tuple(saved.get(name) for name in ("format", "seed", "params"))
            if (*found, len(saved.get("parts", ()))) != wanted:
                raise CheckpointError(f"{files.named(lane.checkpoint)} belongs to another trial")
        except CheckpointError as error:
            logger.warning("lane %d starts from epoch 0: %s", lane.key, error)
            return None
        trial = self._fresh(lane)
        trial.epoch, trial.last = saved["epoch"], saved["last"]
        trial.best_epoch, trial.best_metrics = saved["best_epoch"], saved["best_metrics"]
        return trial, [files.dump(part) for part in saved["parts"]]

    def _again(self, trial: _FoldedTrial) -> EpochReport:
        assert trial.last is not None
        return EpochReport(trial.lane.key, trial.epoch, **trial.last, is_spent=trial.is_spent)

    def _close(self, trial: _FoldedTrial, reports: Sequence[EpochReport]) -> EpochReport:
        """Returns what an epoch of all parts came to."""
        failure = next((report.failure for report in reports if report.failure), None)
        key, epoch = trial.lane.key, trial.epoch + 1
        last: dict[str, Any] = {
            "metrics": {} if failure else self._together(reports),
            "learning_rate": reports[0].learning_rate,
            "seconds": max(report.seconds for report in reports),
            "samples_per_s": sum(report.samples_per_s for report in reports),
        }
        if failure is not None:
            trial.is_failed = True
            self._remove(trial.keys)
            return EpochReport(key, epoch, **last, failure=failure)
        trial.epoch, trial.last = epoch, last
        if self._score.is_better(last["metrics"], trial.best_metrics):
            trial.best_epoch, trial.best_metrics = epoch, last["metrics"]
            for report in reports:
                self._inner.keep(report.key, dict(report.metrics))
        return EpochReport(key, epoch, **last, is_spent=trial.is_spent)

    def _together(self, reports: Sequence[EpochReport]) -> dict[str, float]:
        shared = means([report.metrics for report in reports])
        values = [report.metrics[self._score.metric] for report in reports]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return {**shared, self._score.metric + SPREAD: spread}


def _is_through(trial: _FoldedTrial, found: Mapping[int, EpochReport]) -> bool:
    """Returns whether all parts have reported, or one of them has failed."""
    reports = [found[key] for key in trial.keys if key in found]
    return len(reports) == len(trial.keys) or any(report.failure for report in reports)
