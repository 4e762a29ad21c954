"""Admission: which stack a trial can join, and how many lanes such a stack takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from hpo.spec.space.params import Params
from hpo.train.checks.signature import Signature, signature_of
from hpo.train.engine import Failure, Lane
from hpo.train.epoch_scores import Score
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.admission.batch_sharing import adds_up_in
from hpo.train.fused.admission.stackability import PreparedModel, plan
from hpo.train.fused.stack.folds import Folds
from hpo.train.fused.stack.lane_state import LaneState, begin_or_resume
from hpo.train.fused.stack.microbatches import adds_up
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.fused.stack.stacked_epoch import Eager, Stepper
from hpo.train.loop.training import draw
from hpo.train.recipe.hyperparameters import n_per_batch
from hpo.train.recipe.precision import products
from hpo.train.task import Task
from hpo.train.user_code_guard import attempt

logger = logging.getLogger(__name__)

_N_IDLE: Final = 16


@dataclass(frozen=True)
class Admitted:
    """A trial that can join a stack.

    Attributes:
        template: Of such stacks.
        lane_state: The trial as a lane.
        tensors: Its tensors.
        n_lanes: How many lanes such a stack takes.
    """

    template: StackTemplate
    lane_state: LaneState
    tensors: dict[str, Tensor]
    n_lanes: int


class Admission:
    """Decides how trials are stacked, and remembers it by signature.

    Args:
        task: The task.
        folds: Its data, on the device.
        score: What trials are compared by.
        device: Where they train.
        sizes: How many lanes a stack takes, and of which batch sizes.
        tell: Called with the reason when trials of a signature turn out to train alone.

    Attributes:
        score: What trials are compared by, in stacks to come.
        alone: By signature, why its trials are not stacked.
    """

    def __init__(
        self,
        task: Task,
        folds: Folds,
        score: Score,
        device: torch.device,
        sizes: StackSizes,
        tell: Callable[[str], None],
    ) -> None:
        self._task, self._folds, self.score, self._device = task, folds, score, device
        self._sizes, self._tell = sizes, tell
        # None for trials that train alone.
        self._templates: dict[Signature, StackTemplate | None] = {}
        self._one_batch_size: set[Signature] = set()
        self.alone: dict[Signature, str] = {}

    def prepare(self, lane: Lane) -> PreparedModel:
        """Builds a trial's model.

        Raises:
            Exception: Whatever the task raises; ``TaskError`` for impossible params.
        """
        splits = self._folds[lane.fold]
        params, model, dropout_rng = draw(self._task, splits, lane.params, lane.seed, self._device)
        n_train = len(splits.train)
        size = n_per_batch(params["batch_size"], n_train)
        signature = signature_of(model, params, size)
        if len(self._folds) > 1:
            # Folds by groups or by order are of several sizes.
            signature = replace(signature, settings=(signature.settings, n_train))
        if self._folds.is_loaded:
            # How many lanes are fastest depends on how long a batch takes to read.
            signature = replace(signature, settings=(signature.settings, "loaded"))
        return PreparedModel(lane.fold, params, model, dropout_rng, signature, size)

    def admit(self, lane: Lane, prepared: PreparedModel) -> Admitted | None:
        """Returns what a trial needs to join a stack; None for a trial that trains alone."""
        shared = self._for_all_batch_sizes(prepared)
        if shared is not None and self._shares(lane, shared):
            prepared = shared
        template = self._template(prepared)
        if template is None:
            return None
        lane_state, tensors = _begin(lane, prepared, template)
        n_lanes = attempt(lambda: self._sizes.of(template, lane_state, tensors))
        if isinstance(n_lanes, Failure):
            self.refuse(prepared.signature, n_lanes)
            return None
        if n_lanes == 1 and not self._is_stack_of_one(template):
            return None
        return Admitted(template, lane_state, tensors, n_lanes)

    def shares_batch_sizes(self, params: Params) -> bool:
        """Returns whether trials like this one are known to share stacks of all batch sizes.

        Args:
            params: Of a trial; defaults are filled in.
        """
        if not self._sizes.batch_sharing:
            return False
        prepared = attempt(lambda: self.prepare(Lane(0, params, 0, 0, 1)))
        if isinstance(prepared, Failure):
            return False
        shared = self._for_all_batch_sizes(prepared)
        return shared is not None and self._sizes.is_shared(shared.signature)

    def refuse(self, signature: Signature, why: str | Failure) -> None:
        """Has trials of a signature train alone from now on, each as a model of its own."""
        self._templates[signature] = None
        self._note_alone(signature, why)

    def drop_idle(self, in_use: Collection[Signature]) -> None:
        """Drops templates that no stack uses, but for the latest ones.

        A study may have any number of signatures, and each template holds a model.
        """
        known = [signature for signature, found in self._templates.items() if found is not None]
        for signature in [one for one in known if one not in in_use][:-_N_IDLE]:
            del self._templates[signature]

    def _for_all_batch_sizes(self, prepared: PreparedModel) -> PreparedModel | None:
        """Returns a model prepared for stacks of all batch sizes; None where there are none."""
        batch_sharing = self._sizes.batch_sharing
        is_possible = len(self._folds) == 1 and not self._folds.is_loaded
        is_possible = is_possible and adds_up_in(prepared.params)
        if not is_possible or not batch_sharing.takes(prepared.batch_size):
            return None
        signature = signature_of(prepared.model, prepared.params, batch_sharing.batch_sizes)
        if signature in self._one_batch_size:
            return None
        return replace(prepared, signature=signature, batch_size=batch_sharing.micro)

    def _shares(self, lane: Lane, shared: PreparedModel) -> bool:
        """Returns whether a stack of all batch sizes computes the same, and is faster."""
        signature = shared.signature
        if signature not in self._templates:
            planned = self._plan(shared)
            adds = isinstance(planned, StackTemplate) and attempt(lambda: adds_up(planned))
            if not isinstance(planned, StackTemplate) or adds is not True:
                logger.info("%s: stacks of one batch size each", signature.digest())
                self._one_batch_size.add(signature)
                return False
            self._templates[signature] = planned
        template = self._templates[signature]
        if template is None:
            return True
        lane_state, tensors = _begin(lane, shared, template)
        pays = attempt(lambda: self._sizes.shared(template, lane_state, tensors))
        if pays is not True:
            self._one_batch_size.add(signature)
            del self._templates[signature]
        return pays is True

    def _template(self, prepared: PreparedModel) -> StackTemplate | None:
        signature = prepared.signature
        if signature not in self._templates:
            planned = self._plan(prepared)
            if not isinstance(planned, StackTemplate):
                self.refuse(signature, planned)
                return None
            self._templates[signature] = planned
        return self._templates[signature]

    def _plan(self, prepared: PreparedModel) -> StackTemplate | Failure | str:
        with products("float32", self._device):
            planned = attempt(lambda: plan(self._task, self._folds, self.score, prepared))
        if not isinstance(planned, StackTemplate):
            return planned
        return replace(planned, stepper=stepper_for(self._device))

    def _is_stack_of_one(self, template: StackTemplate) -> bool:
        """Returns whether trials that gain nothing from each other train in stacks nevertheless.

        A stack of one does without ``torch.optim``, whose first optimizer loads for seconds.
        """
        is_quick = template.network.is_quick_alone
        if template.signature not in self.alone:
            note = self._note_alone if is_quick else self.refuse
            note(template.signature, "more lanes would not be faster")
        return is_quick

    def _note_alone(self, signature: Signature, why: str | Failure) -> None:
        text = why.message.strip().rpartition("\n")[2] if isinstance(why, Failure) else why
        logger.info("%s trains lane by lane: %s", signature.digest(), text)
        self.alone[signature] = text
        self._tell(text)


def stepper_for(device: torch.device) -> Callable[[], Stepper]:
    """Returns what makes the steppers of stacks on a device."""
    if device.type != "cuda":
        return Eager
    # Not imported on machines without a GPU.
    from hpo.train.fused.stack.cuda_graphs import CudaGraph, Replayer

    return partial(Replayer, partial(CudaGraph, device))


def _begin(
    lane: Lane, prepared: PreparedModel, template: StackTemplate
) -> tuple[LaneState, dict[str, Tensor]]:
    return begin_or_resume(lane, prepared.params, prepared.model, template.layout)
