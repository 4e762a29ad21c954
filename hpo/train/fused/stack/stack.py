"""Stack: lanes of one signature that train in one set of kernels.

A lane *joins* a stack and *leaves* it. While it trains it has a *row* in the stack's tensors. A
lane with nothing left to train is *suspended*: it stays in the stack, its tensors are held apart,
and it costs no computation. Of every lane the stack can

- return its ``tensors``, by name: weights, optimizer state, buffers, weights of the best epoch;
- return its ``checkpoint``: everything needed to resume it, in any engine;
- ``keep`` its latest epoch as its best one;
- ``export`` the best epoch's weights, for use outside a study.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpo.train.checks.signature import Signature
from hpo.train.data.batch import Tensors
from hpo.train.engine import EpochReport
from hpo.train.fused.kernels.lane_rows import LaneRows
from hpo.train.fused.stack.epoch_builder import EpochBuilder, fixed_of, weights_of
from hpo.train.fused.stack.lane_state import (
    AVERAGE,
    BEST,
    LaneState,
    best_names,
    checkpoint_of,
    row_shapes,
)
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.fused.stack.stacked_epoch import StackedEpoch
from hpo.train.fused.stack.stacked_evaluation import StackedEvaluation
from hpo.train.loop.checkpoint import Checkpoint, export
from hpo.train.recipe.precision import products


class Stack:
    """Lanes that train together, epoch by epoch.

    Args:
        template: What the lanes have in common.

    Attributes:
        template: What the lanes have in common.
        lane_states: The lanes by key, suspended ones included.
    """

    def __init__(self, template: StackTemplate) -> None:
        self.template = template
        self.lane_states: dict[int, LaneState] = {}
        self._evaluation = StackedEvaluation(template)
        shapes = row_shapes(template.layout, template.optimizer, averages=template.averages)
        self._rows = LaneRows(shapes, template.device)
        # What an epoch changes before it is known whether it succeeds.
        self._trained = [name for name in shapes if not name.startswith(BEST)]
        self._evaluated = AVERAGE if template.averages else ""
        self._epoch_builder = EpochBuilder(template)
        self._stepper = template.stepper()

    @property
    def signature(self) -> Signature:
        """Signature of the lanes."""
        return self.template.signature

    @property
    def n_training(self) -> int:
        """Number of lanes that have a row."""
        return len(self._rows)

    @property
    def training(self) -> list[LaneState]:
        """The lanes that have a row, in the order of the rows."""
        found = [state for state in self.lane_states.values() if state.row is not None]
        return sorted(found, key=lambda state: state.row or 0)

    def is_at(self, lane_state: LaneState) -> bool:
        """Returns whether a lane reads from its loader what lanes of this stack read anyway."""
        if not self.template.folds.is_loaded:
            return True
        place = (lane_state.lane.fold, lane_state.epoch)
        return any((state.lane.fold, state.epoch) == place for state in self.training)

    def join(self, lane_state: LaneState, tensors: dict[str, Tensor]) -> None:
        """Takes a lane in; one that has nothing to train is suspended at once."""
        if lane_state.is_through or lane_state.is_failed:
            lane_state.suspended = {name: tensor.clone() for name, tensor in tensors.items()}
        else:
            if len(self._rows) == self._rows.capacity:
                # The rows move: nothing may keep the old ones.
                self._stepper.clear()
            lane_state.row, lane_state.suspended = self._rows.push(tensors), None
        self.lane_states[lane_state.lane.key] = lane_state

    def leave(self, key: int) -> None:
        """Forgets a lane."""
        lane_state = self.lane_states.pop(key)
        if lane_state.row is not None:
            self._free(lane_state)

    def suspend(self, lane_states: Iterable[LaneState]) -> None:
        """Frees the rows of lanes that train no more, and holds their tensors apart."""
        for lane_state in lane_states:
            assert lane_state.row is not None
            row = self._rows.row(lane_state.row)
            lane_state.suspended = {name: tensor.clone() for name, tensor in row.items()}
            self._free(lane_state)

    def trim(self) -> None:
        """Gives back the memory of free rows."""
        self._rows.trim()
        self._epoch_builder.clear()
        self._stepper.clear()

    def tensors(self, key: int) -> dict[str, Tensor]:
        """Returns a lane's tensors by name; views of its row while it trains."""
        lane_state = self.lane_states[key]
        if lane_state.row is None:
            assert lane_state.suspended is not None
            return lane_state.suspended
        return self._rows.row(lane_state.row)

    def checkpoint(self, key: int) -> Checkpoint:
        """Returns everything needed to resume a lane, in this engine or another."""
        names = list(self.template.model.state_dict())
        return checkpoint_of(self.lane_states[key], self.tensors(key), self.template.layout, names)

    def epoch(self, key: int) -> int:
        """Returns how many epochs a lane has completed."""
        return self.lane_states[key].epoch

    def best(self, key: int) -> tuple[int, dict[str, float]]:
        """Returns the best epoch and its metrics; ``(0, {})`` before there is one."""
        lane_state = self.lane_states[key]
        return lane_state.best_epoch, dict(lane_state.best_metrics)

    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Writes the weights of the best epoch and the params; see ``Engine.export``."""
        export(self.checkpoint(key).best, self.lane_states[key].params.asdict(), path, about)

    def outputs(self, key: int) -> Tensors | None:
        """Returns outputs for the test samples; see ``PartEngine.outputs``."""
        lane_state = self.lane_states[key]
        if not lane_state.best_epoch:
            return None
        weights = self.checkpoint(key).best.weights
        return self._evaluation.test_outputs(lane_state, weights, self.tensors(key))

    def measure(self, key: int, outputs: Tensors) -> dict[str, float]:
        """Returns ``test_*`` metrics of outputs; see ``PartEngine.measure``."""
        return self._evaluation.test_metrics(self.lane_states[key], outputs)

    def keep(self, key: int, metrics: dict[str, float]) -> None:
        """Keeps a lane's latest epoch as its best one."""
        lane_state, tensors = self.lane_states[key], self.tensors(key)
        for name in best_names(self.template.layout):
            tensors[BEST + name].copy_(tensors[self._evaluated + name])
        lane_state.best_epoch, lane_state.best_metrics = lane_state.epoch, metrics

    def advance(self) -> list[EpochReport]:
        """Trains and evaluates every lane for one epoch; see ``Engine.advance``.

        Lanes that fail or reach their stop are suspended.

        Raises:
            Exception: Whatever the task raises; the lanes are where they were before.
        """
        reports = [
            EpochReport(key, state.epoch, **asdict(state.last), is_spent=state.is_spent)
            for key, state in self.lane_states.items()
            if state.row is None and state.last and not state.is_failed
        ]
        training = self.training
        if not training:
            return reports
        before = self._rows.copy(self._trained)
        try:
            with products(self.template.precision, self.template.device):
                return reports + self._train_and_evaluate(training)
        except BaseException:
            self._rows.restore(before)
            raise

    def next_epoch(self, n_steps: int | None = None) -> StackedEpoch:
        """Returns the lanes' next epoch, ready to run.

        Args:
            n_steps: Its first steps only; None for all.
        """
        return self._epoch_builder.build(self._rows, self.training, n_steps)

    def losses(self, epoch: StackedEpoch) -> Tensor:
        """Takes all steps of an epoch; returns the losses before each, [S, K]."""
        return self._stepper.losses(epoch)

    def _train_and_evaluate(self, training: list[LaneState]) -> list[EpochReport]:
        template = self.template
        began_at = time.perf_counter()
        epoch = self.next_epoch()
        taken = self.losses(epoch)
        if self._stepper.is_ahead:
            # While the device computes: most lanes will want the next epoch.
            self._epoch_builder.prepare(training)
        losses = epoch.mean(taken)
        weights = weights_of(self._rows, template.layout, self._evaluated)
        fixed = fixed_of(self._rows, template.layout, self._evaluated)
        measured = self._evaluation.validate(training, weights, fixed)
        seconds = time.perf_counter() - began_at
        metrics = [
            {"train_loss": loss, **(found if math.isfinite(loss) else {})}
            for loss, found in zip(losses, measured, strict=True)
        ]
        # For all before anything is noted: it raises where the study's metric is missing.
        failures = [
            template.score.judge(one, state.epoch + 1)
            for state, one in zip(training, metrics, strict=True)
        ]
        reports = [
            state.close(one, failure, seconds, template.n_train, template.score)
            for state, one, failure in zip(training, metrics, failures, strict=True)
        ]
        self._keep_best([state for state in training if state.best_epoch == state.epoch])
        self.suspend([state for state in training if state.is_failed or state.is_through])
        return reports

    def _keep_best(self, lane_states: list[LaneState]) -> None:
        """Keeps the epoch of several lanes at once: one copy for each tensor, not for each lane."""
        if not lane_states:
            return
        index = torch.tensor([state.row for state in lane_states], device=self.template.device)
        for name in best_names(self.template.layout):
            evaluated = self._rows[self._evaluated + name]
            self._rows[BEST + name].index_copy_(0, index, evaluated.index_select(0, index))

    def _free(self, lane_state: LaneState) -> None:
        assert lane_state.row is not None
        self._rows.free(lane_state.row)
        # The last row has moved into the free one.
        for other in self.lane_states.values():
            if other.row == len(self._rows):
                other.row = lane_state.row
        lane_state.row = None
