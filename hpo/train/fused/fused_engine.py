"""The fused engine: trials of one signature are lanes of one stacked model."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from hpo.spec.space.params import Params
from hpo.tracebacks import headline
from hpo.train.checks.signature import Signature
from hpo.train.data.splits import Folds, Splits
from hpo.train.engine import EpochReport, Failure, Lane
from hpo.train.epoch_scores import Score
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.admission.prepared_model import PreparedModel
from hpo.train.fused.admission.prepared_trials import PreparedTrials
from hpo.train.fused.lane_router import LaneRouter
from hpo.train.fused.stack.lane_state import LaneState, dropping_of, fresh_state, load_state
from hpo.train.fused.stack.stack import Stack
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.loop.checkpoint import Checkpoint
from hpo.train.loop.resuming import resume
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from hpo.train.user_code_guard import attempt, is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


class FusedEngine(LaneRouter):
    """Trains lanes in stacks, and alone those that cannot be stacked; see ``Engine``.

    Args:
        task: The task; its ``setup`` was called.
        splits: Its data, moved to the device once; of each fold where there are several.
        metric: What the best epoch is best in, ``val_accuracy``; or all metrics of the study, of
            which that is the first.
        direction: ``maximize`` or ``minimize``.
        device: As PyTorch names it: ``cpu``, ``cuda:0``.
        sizes: How many lanes a stack takes, and of which batch sizes; measured where it does not
            know.
        tell: Called with the reason when trials of a signature turn out to train alone.

    Attributes:
        alone: By signature, why its trials are not stacked.
        lane_epochs: Epochs that lanes have trained.
        stack_epochs: Epochs that stacks have trained; a lane alone counts as a stack.
    """

    name = "fused"

    def __init__(
        self,
        task: Task,
        splits: Splits | Sequence[Splits],
        metric: str | tuple[str, ...],
        direction: str,
        device: str = "cpu",
        sizes: StackSizes | None = None,
        tell: Callable[[str], None] = lambda reason: None,
    ) -> None:
        super().__init__()
        self._task = task
        self._device = torch.device(device)
        self._folds = Folds(splits, self._device)
        self._score = Score.of(metric, direction)
        self._sizes = sizes or StackSizes(self._device)
        sharing = self._sizes.sharing
        self._drafts = PreparedTrials(task, self._folds, self._score, self._device, sharing, tell)
        self._stacks: dict[Signature, list[Stack]] = {}
        self._turns: list[Stack | SoloEngine] = []
        self.alone = self._drafts.alone
        self.lane_epochs = 0
        self.stack_epochs = 0

    def add(self, lane: Lane) -> Failure | None:
        """See ``Engine``."""
        # Parts of trials come together: whoever serves them knows how many there is room for.
        is_full = self._score.keeps and len(self._homes) >= self.capacity
        if lane.key in self._homes or is_full:
            raise ValueError(f"the engine has no place for lane {lane.key}")
        self._wanted_before = (lane.key, self._wanted)
        draft = attempt(lambda: self._drafts.draw(lane))
        if isinstance(draft, Failure):
            return draft
        draft = self._shared(lane, draft) or draft
        signature = draft.signature
        blueprint = self._drafts.blueprint(draft, self._stacks)
        if blueprint is None:
            return self._add_alone(lane)
        member, state = self._member(lane, draft, blueprint)
        n_lanes = attempt(lambda: self._sizes.of(signature, blueprint, member, state))
        if isinstance(n_lanes, Failure):
            self._drafts.refuse(signature, n_lanes)
            return self._add_alone(lane)
        if n_lanes == 1 and not self._is_stack_of_one(signature, blueprint):
            return self._add_alone(lane)
        stack = self._stack(signature, blueprint, n_lanes)
        if isinstance(attempt(lambda: stack.join(member, state)), Failure):
            # There is no memory for another row, but it may yet do for a model alone.
            return self._add_alone(lane)
        self._wanted = n_lanes
        self._homes[lane.key] = stack
        return None

    def shares_batch_sizes(self, params: Params) -> bool:
        """Tells whether trials like this one are known to share stacks whatever their batch size.

        Args:
            params: Of a trial; defaults are filled in.
        """
        if not self._sizes.sharing:
            return False
        draft = attempt(lambda: self._drafts.draw(Lane(0, params, 0, 0, 1)))
        shared = None if isinstance(draft, Failure) else self._drafts.shared(draft)
        return shared is not None and self._sizes.is_shared(shared.signature)

    def advance(self) -> list[EpochReport]:
        """See ``Engine``; stacks and lanes that train alone take turns."""
        # One turn may bring nothing: a stack has made two, or its lanes go on alone.
        for _ in range(len(self._homes) + 1):
            reports = self._take_turn() if self._turns else []
            if reports:
                self.lane_epochs += len(reports)
                self.stack_epochs += 1
                return reports
        return []

    def _take_turn(self) -> list[EpochReport]:
        home = self._turns.pop(0)
        self._turns.append(home)
        if isinstance(home, SoloEngine):
            return home.advance()
        try:
            return home.advance()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - alone each lane shows if it was its fault
            # What the step had computed must not take the memory that is needed now.
            traceback.clear_frames(error.__traceback__)
            if is_out_of_memory(error) and home.n_training > 1:
                self._halve(home)
                return []
            return self._dissolve(home, error)

    def serve(self, n_parts: int) -> None:
        """See ``PartEngine``."""
        self._score = self._drafts.score = replace(self._score, keeps=False)

    def remove(self, key: int) -> None:
        """See ``Engine``."""
        home = self._homes.pop(key, None)
        if home is None:
            return
        self._want_no_more(key)
        if isinstance(home, SoloEngine):
            home.remove(key)
            self._turns.remove(home)
        else:
            home.leave(key)
            if not home.members:
                self._drop(home)

    def _shared(self, lane: Lane, draft: PreparedModel) -> PreparedModel | None:
        """Returns a draft for a stack of several batch sizes; None where each has its own."""
        shared = self._drafts.shared(draft)
        if shared is None:
            return None
        signature = shared.signature
        blueprint = self._drafts.shared_blueprint(shared, self._stacks)
        if blueprint is None:
            return None
        member, state = self._member(lane, shared, blueprint)
        pays = attempt(lambda: self._sizes.shared(signature, blueprint, member, state))
        if pays is True:
            return shared
        self._drafts.separate(signature)
        return None

    def _is_stack_of_one(self, signature: Signature, blueprint: StackTemplate) -> bool:
        """Tells whether trials that gain nothing from each other train in stacks nevertheless.

        A stack of one does without ``torch.optim``, whose first optimizer loads for seconds.
        """
        is_quick = blueprint.network.is_quick_alone
        if signature not in self.alone:
            note = self._drafts.part if is_quick else self._drafts.refuse
            note(signature, "more lanes would not be faster")
        return is_quick

    def _member(
        self, lane: Lane, draft: PreparedModel, blueprint: StackTemplate
    ) -> tuple[LaneState, dict[str, Tensor]]:
        """Returns a lane as a member, and its state: its checkpoint's, or its initial weights."""
        params, model = draft.params, draft.model
        fresh = LaneState(lane, params, lane.horizon or lane.epoch_stop, dropping_of(model))
        state = fresh_state(model, blueprint.layout)

        def load(saved: Checkpoint) -> tuple[LaneState, dict[str, Tensor]]:
            found = load_state(blueprint.layout, saved, params)
            best = saved.best
            member = replace(
                fresh,
                horizon=saved.horizon,
                epoch=saved.epoch,
                best_epoch=best.epoch,
                best_metrics=best.metrics,
                last=saved.last,
            )
            return member, {**state, **found}

        return resume(lane, load) or (fresh, state)

    def _stack(self, signature: Signature, blueprint: StackTemplate, n_lanes: int) -> Stack:
        """Returns a stack with a free place."""
        stacks = self._stacks.setdefault(signature, [])
        for stack in stacks:
            if len(stack.members) < n_lanes:
                return stack
        stacks.append(Stack(blueprint))
        self._turns.append(stacks[-1])
        return stacks[-1]

    def _add_alone(self, lane: Lane) -> Failure | None:
        score, device = self._score, str(self._device)
        folds = self._folds.splits
        solo = SoloEngine(self._task, folds, score.metrics, score.direction, device)
        if not score.keeps:
            solo.serve(1)
        failure = solo.add(lane)
        if failure is None:
            self._wanted = 1
            self._homes[lane.key] = solo
            self._turns.append(solo)
        return failure

    def _halve(self, stack: Stack) -> None:
        """Makes two stacks of one that is out of memory; both are where it was before."""
        training = [key for key, member in stack.members.items() if member.row is not None]
        keys = training[: len(training) // 2]
        signature, n_left = self._signature(stack), len(training) - len(keys)
        logger.warning("out of memory with %d lanes; %d from now on", len(training), n_left)
        self._sizes.limit(signature, n_left)
        if n_left == 1:
            self._drafts.refuse(signature, "there is no memory for two lanes")
        other = Stack(stack.blueprint)
        for key in keys:
            member, state = stack.members[key], stack.state(key)
            kept = {name: tensor.clone() for name, tensor in state.items()}
            stack.leave(key)
            other.join(member, kept)
            self._homes[key] = other
        stack.trim()
        self._stacks[signature].append(other)
        self._turns.append(other)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _dissolve(self, stack: Stack, error: BaseException) -> list[EpochReport]:
        """Lets the lanes of a stack that raises go on alone; reports those that cannot."""
        self._drafts.refuse(self._signature(stack), f"the stack raised {headline(error)}")
        reports = []
        # Those that have nothing left to train stay.
        training = [member for member in stack.members.values() if member.row is not None]
        for member in training:
            key = member.lane.key
            failure = self._add_alone(replace(member.lane, checkpoint=stack.dump(key)))
            if failure is None:
                stack.leave(key)
            else:
                reports.append(EpochReport(key, member.epoch + 1, {}, 0.0, 0.0, 0.0, failure))
                member.is_failed = True
                stack.park([member])
        if not stack.members:
            self._drop(stack)
        return reports

    def _signature(self, stack: Stack) -> Signature:
        return next(found for found, stacks in self._stacks.items() if stack in stacks)

    def _drop(self, stack: Stack) -> None:
        self._stacks[self._signature(stack)].remove(stack)
        self._turns.remove(stack)
