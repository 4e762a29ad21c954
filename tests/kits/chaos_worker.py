"""A real worker process whose trials cost next to nothing: what they report is a formula."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.link.context import WorkerContext
from hpo.run.trials.executor import Executor
from hpo.run.trials.task_executor import TaskExecutor
from hpo.run.worker import compose, process
from hpo.run.worker.supervisor_pipe import WorkerOrder
from hpo.train.engine import EpochReport, Failure, Lane

EPOCH_S = 0.03


def curve(seed: int, epoch: int) -> float:
    """The objective of a trial after an epoch: anybody can tell it from the trial's seed."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class FormulaEngine:
    """An engine that sleeps instead of training; its checkpoints are as real as any."""

    name = "formula"
    capacity = 2
    lane_epochs = 0
    stack_epochs = 0

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._epochs: dict[int, int] = {}

    def add(self, lane: Lane) -> Failure | None:
        epoch = 0
        if lane.checkpoint is not None:
            assert isinstance(lane.checkpoint, Path)
            saved = json.loads(lane.checkpoint.read_text())
            assert saved["seed"] == lane.seed
            epoch = int(saved["epoch"])
        self._lanes[lane.key] = lane
        self._epochs[lane.key] = epoch
        return None

    def advance(self) -> list[EpochReport]:
        time.sleep(EPOCH_S)
        return [self._advance(lane) for lane in self._lanes.values()]

    def _advance(self, lane: Lane) -> EpochReport:
        self._epochs[lane.key] = epoch = min(self._epochs[lane.key] + 1, lane.epoch_stop)
        metrics = {"val_accuracy": curve(lane.seed, epoch), "val_loss": float(epoch)}
        return EpochReport(lane.key, epoch, metrics, 0.1, EPOCH_S, 100.0)

    def epoch(self, key: int) -> int:
        return self._epochs[key]

    def save(self, key: int, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"seed": self._lanes[key].seed, "epoch": self._epochs[key]}))
        part.replace(path)

    def test(self, key: int) -> dict[str, float]:
        return {}

    def best(self, key: int) -> tuple[int, dict[str, float]]:
        seed = self._lanes[key].seed
        best = max(range(1, self._epochs[key] + 1), key=lambda epoch: curve(seed, epoch))
        return best, {"val_accuracy": curve(seed, best)}

    def export(self, key: int, path: Path, about: object = None) -> None:
        self.save(key, path)

    def remove(self, key: int) -> None:
        self._lanes.pop(key, None)
        self._epochs.pop(key, None)


def formula_executor(order: WorkerOrder, context: WorkerContext) -> Executor:
    """Runs the trials of any study by the formula; everything else is the real worker."""
    return TaskExecutor(context, FormulaEngine(), SamplerAssigner(context))


def be_impatient(lock_s: int) -> None:
    """Has servers give up a lock sooner than after half a minute."""
    from hpo.store.db import sql_engines

    sql_engines._POSTGRESQL_SETTINGS += (f"SET SESSION lock_timeout = '{lock_s}s'",)
    sql_engines._MYSQL_SETTINGS += (f"SET SESSION innodb_lock_wait_timeout = {lock_s}",)


if __name__ == "__main__":
    if "CHAOS_LOCK_S" in os.environ:
        be_impatient(int(os.environ["CHAOS_LOCK_S"]))
    compose.make_executor = formula_executor
    process.main()
