"""A stack: lanes of one signature that train in one set of kernels."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpo.train.data.splits import Part
from hpo.train.engine import EpochReport
from hpo.train.evaluation import measure, outputs_of
from hpo.train.fused.kernels.lane_rows import LaneRows
from hpo.train.fused.kernels.stacked_optimizers import RULES
from hpo.train.fused.stack.epoch_builder import EpochBuilder, fixed_of, weights_of
from hpo.train.fused.stack.lane_state import (
    AVERAGE,
    BEST,
    FIXED,
    WEIGHTS,
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
from hpo.train.recipe.random_streams import derive, seeded
from hpo.train.user_code_guard import user_code


class Stack:
    """Members that train together, epoch by epoch.

    Args:
        blueprint: What they have in common.
    """

    def __init__(self, blueprint: StackTemplate) -> None:
        self._blueprint = blueprint
        self._assessment = StackedEvaluation(blueprint.criterion)
        shapes = row_shapes(blueprint.layout, blueprint.optimizer, averages=blueprint.averages)
        self._rows = LaneRows(shapes, blueprint.device)
        self._composer = EpochBuilder(blueprint)
        self._stepper = blueprint.stepper()
        self.members: dict[int, LaneState] = {}

    @property
    def blueprint(self) -> StackTemplate:
        """What the members have in common."""
        return self._blueprint

    @property
    def n_training(self) -> int:
        """Number of members that have a row."""
        return len(self._rows)

    def join(self, member: LaneState, state: dict[str, Tensor]) -> None:
        """Takes a member in; one that has nothing to train is only kept."""
        if member.is_through or member.is_failed:
            member.parked = {name: tensor.clone() for name, tensor in state.items()}
        else:
            if len(self._rows) == self._rows.capacity:
                # The rows move: nothing may keep the old ones.
                self._stepper.clear()
            member.row, member.parked = self._rows.push(state), None
        self.members[member.lane.key] = member

    def leave(self, key: int) -> None:
        """Forgets a member."""
        member = self.members.pop(key)
        if member.row is not None:
            self._free(member)

    def trim(self) -> None:
        """Gives back the memory of free rows."""
        self._rows.trim()
        self._composer.clear()
        self._stepper.clear()

    def state(self, key: int) -> dict[str, Tensor]:
        """Returns a member's tensors by name; views where it is training."""
        member = self.members[key]
        if member.row is None:
            assert member.parked is not None
            return member.parked
        return self._rows.row(member.row)

    def checkpoint(self, key: int) -> Checkpoint:
        """Returns all that a member needs to go on, in this engine or another."""
        blueprint = self._blueprint
        names = list(blueprint.model.state_dict())
        return checkpoint_of(self.members[key], self.state(key), blueprint.layout, names)

    def epoch(self, key: int) -> int:
        """See ``Engine``."""
        return self.members[key].epoch

    def best(self, key: int) -> tuple[int, dict[str, float]]:
        """See ``Engine``."""
        member = self.members[key]
        return member.best_epoch, dict(member.best_metrics)

    def save(self, key: int, path: Path) -> None:
        """See ``Engine``."""
        self.checkpoint(key).save(path)

    def dump(self, key: int) -> bytes:
        """See ``PartEngine``."""
        return self.checkpoint(key).dump()

    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """See ``Engine``."""
        export(self.checkpoint(key).best, self.members[key].params.asdict(), path, about)

    def test(self, key: int) -> dict[str, float]:
        """See ``Engine``."""
        outputs = self.outputs(key)
        return {} if outputs is None else self.measure(key, outputs)

    def outputs(self, key: int) -> Tensor | None:
        """See ``PartEngine``."""
        member, part = self.members[key], self._test_part(key)
        if part is None or not member.best_epoch:
            return None
        with self._prepared(member):
            return outputs_of(self._best_model(key), part, member.params)

    def measure(self, key: int, outputs: Tensor) -> dict[str, float]:
        """See ``PartEngine``."""
        member, part = self.members[key], self._test_part(key)
        assert part is not None
        with self._prepared(member):
            return measure(self._blueprint.criterion, member.params, outputs, part, "test")

    def _test_part(self, key: int) -> Part | None:
        return self._blueprint.folds[self.members[key].lane.fold].test

    @contextmanager
    def _prepared(self, member: LaneState) -> Iterator[None]:
        seed = derive(member.lane.seed, "noise", member.epoch)
        precision, device = self._blueprint.precision, self._blueprint.device
        with user_code("the task"), seeded(seed, device), products(precision, device):
            yield

    def _best_model(self, key: int) -> nn.Module:
        """Returns the stand-in as a member's model with the weights of its best epoch.

        The stack computes with its rows; what the stand-in holds is nobody's.
        """
        model, state = self._blueprint.model, self.state(key)
        weights = self.checkpoint(key).best.weights
        for name, buffer in model.named_buffers():
            # What is in no state dict is as it is now.
            if name not in weights:
                buffer.copy_(state[FIXED + name])
        model.load_state_dict(weights)
        return model

    def advance(self) -> list[EpochReport]:
        """Trains and evaluates every member for one epoch; see ``Engine.advance``.

        Members that fail or reach their stop are parked: they cost no further computation.

        Raises:
            Exception: Whatever the task raises; the members are where they were before.
        """
        reports = [
            EpochReport(key, member.epoch, **asdict(member.last), is_spent=member.is_spent)
            for key, member in self.members.items()
            if member.row is None and member.last and not member.is_failed
        ]
        training = self._training()
        if not training:
            return reports
        before = self._rows.copy(
            (WEIGHTS, "step", *self._state_names, *self._fixed_names, *self._averaged)
        )
        try:
            with products(self._blueprint.precision, self._blueprint.device):
                return reports + self._epoch(training)
        except BaseException:
            self._rows.restore(before)
            raise

    def _epoch(self, training: list[LaneState]) -> list[EpochReport]:
        began_at = time.perf_counter()
        course = self.course()
        taken = self.losses(course)
        if self._stepper.is_ahead:
            # While the device computes: most lanes will want the next epoch.
            self._composer.prepare(training)
        losses = course.mean(taken)
        layout, source = self._blueprint.layout, self._source
        weights = weights_of(self._rows, layout, source)
        fixed = fixed_of(self._rows, layout, source)
        measured = self._assessment.validate(self._blueprint, training, weights, fixed)
        seconds = time.perf_counter() - began_at
        metrics = [
            {"train_loss": loss, **(found if math.isfinite(loss) else {})}
            for loss, found in zip(losses, measured, strict=True)
        ]
        # For all before anything is noted: it raises where the study's metric is missing.
        failures = [
            self._blueprint.score.judge(one, member.epoch + 1)
            for member, one in zip(training, metrics, strict=True)
        ]
        blueprint = self._blueprint
        found = [
            member.close(one, failure, seconds, blueprint.n_train, blueprint.score)
            for member, one, failure in zip(training, metrics, failures, strict=True)
        ]
        self._keep_best([member for member in training if member.best_epoch == member.epoch])
        self.park([member for member in training if member.is_failed or member.is_through])
        return found

    def losses(self, course: StackedEpoch) -> Tensor:
        """Takes all steps of a course; returns the losses before each, [S, K]."""
        return self._stepper.losses(course)

    def course(self, n_steps: int | None = None) -> StackedEpoch:
        """Returns the members' next epoch, ready to run.

        Args:
            n_steps: Leaves it at so many steps; None for all.
        """
        return self._composer.course(self._rows, self._training(), n_steps)

    def _keep_best(self, members: list[LaneState]) -> None:
        if not members:
            return
        index = torch.tensor([member.row for member in members], device=self._blueprint.device)
        for name in best_names(self._blueprint.layout):
            best = self._rows[BEST + name]
            evaluated = self._rows[self._source + name]
            best.index_copy_(0, index, evaluated.index_select(0, index))

    def keep(self, key: int, metrics: dict[str, float]) -> None:
        """See ``PartEngine``."""
        member, state = self.members[key], self.state(key)
        for name in best_names(self._blueprint.layout):
            state[BEST + name].copy_(state[self._source + name])
        member.best_epoch, member.best_metrics = member.epoch, metrics

    def park(self, members: Iterable[LaneState]) -> None:
        """Frees the rows of members that train no more, and keeps what they hold."""
        for member in members:
            assert member.row is not None
            state = self._rows.row(member.row)
            member.parked = {name: tensor.clone() for name, tensor in state.items()}
            self._free(member)

    def _free(self, member: LaneState) -> None:
        assert member.row is not None
        self._rows.free(member.row)
        for other in self.members.values():
            if other.row == len(self._rows):
                other.row = member.row
        member.row = None

    def _training(self) -> list[LaneState]:
        """Returns the members that have rows, in the order of the rows."""
        found = [member for member in self.members.values() if member.row is not None]
        return sorted(found, key=lambda member: member.row or 0)

    @property
    def _state_names(self) -> tuple[str, ...]:
        return RULES[self._blueprint.optimizer].state

    @property
    def _fixed_names(self) -> tuple[str, ...]:
        return tuple(FIXED + name for name in self._blueprint.layout.fixed)

    @property
    def _source(self) -> str:
        """Begins the names of what is evaluated."""
        return AVERAGE if self._blueprint.averages else ""

    @property
    def _averaged(self) -> list[str]:
        names = best_names(self._blueprint.layout)
        return [AVERAGE + name for name in names] if self._blueprint.averages else []
