"""Fused engine: trials of one signature are lanes of one stacked model."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from typing_extensions import override

from hpo.spec.space.params import Params
from hpo.tracebacks import headline
from hpo.train.data.loading.loaded_splits import AnySplits
from hpo.train.engine import EpochReport, Failure, Lane, PartEngine
from hpo.train.epoch_scores import Score
from hpo.train.fused.admission.admission import Admission, Admitted
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.stack.folds import Folds
from hpo.train.fused.stack.stack import Stack
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from hpo.train.user_code_guard import attempt, is_out_of_memory

logger = logging.getLogger(__name__)

_Trainer: TypeAlias = Stack | SoloEngine


class FusedEngine(PartEngine):
    """Trains lanes in stacks, and those that cannot be stacked alone.

    Each lane has a trainer: a stack, or a solo engine of its own. Trainers take turns.

    Args:
        task: The task; its ``setup`` was called.
        splits: Its data, moved to the device once, or read from a loader; of each fold where there
            are several.
        metric: What the best epoch is best in, ``val_accuracy``; or all metrics of the study, of
            which that is the first.
        direction: ``maximize`` or ``minimize``.
        device: As PyTorch names it: ``cpu``, ``cuda:0``.
        sizes: How many lanes a stack takes, and of which batch sizes; measured where it does not
            know.
        tell: Called with the reason when trials of a signature turn out to train alone.

    Attributes:
        alone: By signature, why its trials are not stacked.
    """

    name = "fused"

    def __init__(
        self,
        task: Task,
        splits: AnySplits | Sequence[AnySplits],
        metric: str | tuple[str, ...],
        direction: str,
        device: str = "cpu",
        sizes: StackSizes | None = None,
        tell: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._task = task
        self._device = torch.device(device)
        self._folds = Folds(splits, self._device)
        self._score = Score.of(metric, direction)
        self._sizes = sizes or StackSizes(self._device)
        self._admission = Admission(task, self._folds, self._score, self._device, self._sizes, tell)
        self.alone = self._admission.alone
        self._trainers: dict[int, _Trainer] = {}
        # The next one first.
        self._turns: list[_Trainer] = []
        # What the latest lane's signature can use, and what was wanted before that lane came.
        self._wanted = 1
        self._wanted_before = (0, 1)
        self._lane_epochs = 0
        self._stack_epochs = 0

    @property
    @override
    def lane_epochs(self) -> int:
        return self._lane_epochs

    @property
    @override
    def stack_epochs(self) -> int:
        """Epochs that stacks have trained; a lane alone counts as a stack."""
        return self._stack_epochs

    @property
    @override
    def capacity(self) -> int:
        """How many lanes it wants at present: what the latest lane's signature can use."""
        return max(self._wanted, len(self._trainers))

    @override
    def add(self, lane: Lane) -> Failure | None:
        # Parts of trials come together: their engine knows how many there is room for.
        is_full = self._score.keeps and len(self._trainers) >= self.capacity
        if lane.key in self._trainers or is_full:
            raise ValueError(f"the engine has no place for lane {lane.key}")
        self._wanted_before = (lane.key, self._wanted)
        prepared = attempt(lambda: self._admission.prepare(lane))
        if isinstance(prepared, Failure):
            return prepared
        admitted = self._admission.admit(lane, prepared)
        if admitted is None or not self._join(lane.key, admitted):
            return self._add_alone(lane)
        return None

    def shares_batch_sizes(self, params: Params) -> bool:
        """Returns whether trials like this one are known to share stacks of all batch sizes.

        Args:
            params: Of a trial; defaults are filled in.
        """
        return self._admission.shares_batch_sizes(params)

    @override
    def advance(self) -> list[EpochReport]:
        # A turn may bring nothing: a stack was halved, or its lanes continue alone.
        for _ in range(len(self._trainers) + 1):
            reports = self._advance_next() if self._turns else []
            if reports:
                self._lane_epochs += len(reports)
                self._stack_epochs += 1
                return reports
        return []

    @override
    def remove(self, key: int) -> None:
        trainer = self._trainers.pop(key, None)
        if trainer is None:
            return
        # The lane may come again.
        if self._wanted_before[0] == key:
            self._wanted = self._wanted_before[1]
        if isinstance(trainer, SoloEngine):
            trainer.remove(key)
            self._turns.remove(trainer)
        else:
            trainer.leave(key)
            self._drop_if_empty(trainer)

    @override
    def serve(self, n_parts: int) -> None:
        self._score = self._admission.score = replace(self._score, keeps=False)

    @override
    def epoch(self, key: int) -> int:
        return self._trainers[key].epoch(key)

    @override
    def best(self, key: int) -> tuple[int, dict[str, float]]:
        return self._trainers[key].best(key)

    @override
    def save(self, key: int, path: Path) -> None:
        self._trainers[key].checkpoint(key).save(path)

    @override
    def dump(self, key: int) -> bytes:
        return self._trainers[key].checkpoint(key).dump()

    @override
    def export(self, key: int, path: Path, about: Mapping[str, Any] | None = None) -> None:
        self._trainers[key].export(key, path, about)

    @override
    def test(self, key: int) -> dict[str, float]:
        outputs = self.outputs(key)
        return {} if outputs is None else self.measure(key, outputs)

    @override
    def outputs(self, key: int) -> Any:
        return self._trainers[key].outputs(key)

    @override
    def measure(self, key: int, outputs: Any) -> dict[str, float]:
        return self._trainers[key].measure(key, outputs)

    @override
    def keep(self, key: int, metrics: dict[str, float]) -> None:
        self._trainers[key].keep(key, metrics)

    def _join(self, key: int, admitted: Admitted) -> bool:
        """Puts a lane into a stack with room for it; returns whether there is memory."""
        signature = admitted.template.signature
        stacks = [one for one in dict.fromkeys(self._trainers.values()) if isinstance(one, Stack)]
        for stack in sorted(stacks, key=lambda one: not one.is_at(admitted.lane_state)):
            # Another template of the signature would do as well: a lane's tensors fit both.
            if stack.signature == signature and len(stack.lane_states) < admitted.n_lanes:
                break
        else:
            stack = Stack(admitted.template)
            self._admission.drop_idle({one.signature for one in [*stacks, stack]})
        joined = attempt(lambda: stack.join(admitted.lane_state, admitted.tensors))
        if isinstance(joined, Failure):
            return False
        if stack not in self._turns:
            self._turns.append(stack)
        self._trainers[key] = stack
        self._wanted = admitted.n_lanes
        return True

    def _add_alone(self, lane: Lane) -> Failure | None:
        score, device = self._score, str(self._device)
        folds = self._folds.splits
        solo = SoloEngine(self._task, folds, score.metrics, score.direction, device)
        if not score.keeps:
            solo.serve(1)
        failure = solo.add(lane)
        if failure is None:
            self._wanted = 1
            self._trainers[lane.key] = solo
            self._turns.append(solo)
        return failure

    def _advance_next(self) -> list[EpochReport]:
        trainer = self._turns.pop(0)
        self._turns.append(trainer)
        if isinstance(trainer, SoloEngine):
            return trainer.advance()
        try:
            return trainer.advance()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - alone each lane shows if it was its fault
            # What the step had computed must not take the memory that is needed now.
            traceback.clear_frames(error.__traceback__)
            if is_out_of_memory(error) and trainer.n_training > 1:
                self._halve(trainer)
                return []
            return self._dissolve(trainer, error)

    def _halve(self, stack: Stack) -> None:
        """Makes two stacks of one that is out of memory; both are where it was before."""
        training = [key for key, state in stack.lane_states.items() if state.row is not None]
        keys = training[: len(training) // 2]
        n_left = len(training) - len(keys)
        logger.warning("out of memory with %d lanes; %d from now on", len(training), n_left)
        self._sizes.limit(stack.signature, n_left)
        if n_left == 1:
            self._admission.refuse(stack.signature, "there is no memory for two lanes")
        other = Stack(stack.template)
        for key in keys:
            lane_state, tensors = stack.lane_states[key], stack.tensors(key)
            copies = {name: tensor.clone() for name, tensor in tensors.items()}
            stack.leave(key)
            other.join(lane_state, copies)
            self._trainers[key] = other
        stack.trim()
        self._turns.append(other)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _dissolve(self, stack: Stack, error: BaseException) -> list[EpochReport]:
        """Has the lanes of a stack that raises continue alone; reports those that cannot."""
        self._admission.refuse(stack.signature, f"the stack raised {headline(error)}")
        reports = []
        # Lanes with nothing left to train stay.
        for lane_state in stack.training:
            key = lane_state.lane.key
            checkpoint = stack.checkpoint(key).dump()
            failure = self._add_alone(replace(lane_state.lane, checkpoint=checkpoint))
            if failure is None:
                stack.leave(key)
            else:
                epoch = lane_state.epoch + 1
                reports.append(EpochReport(key, epoch, {}, 0.0, 0.0, 0.0, failure))
                lane_state.is_failed = True
                stack.suspend([lane_state])
        self._drop_if_empty(stack)
        return reports

    def _drop_if_empty(self, stack: Stack) -> None:
        if not stack.lane_states:
            self._turns.remove(stack)
