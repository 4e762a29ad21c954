"""Trials before they have a place: their models, and the stacks that could take them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import torch

from hpo.train.checks.signature import Signature, signature_of
from hpo.train.data.splits import Folds
from hpo.train.engine import Failure, Lane
from hpo.train.epoch_scores import Score
from hpo.train.fused.admission.batch_sharing import BatchSharing, adds_up_in
from hpo.train.fused.admission.prepared_model import PreparedModel
from hpo.train.fused.admission.stackability import plan
from hpo.train.fused.stack.microbatches import adds_up
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.fused.stack.stacked_epoch import Eager, Stepper
from hpo.train.loop.training import draw
from hpo.train.recipe.hyperparameters import n_per_batch
from hpo.train.recipe.precision import products
from hpo.train.task import Task
from hpo.train.user_code_guard import attempt

logger = logging.getLogger(__name__)

_N_KEPT: Final = 16


class PreparedTrials:
    """Draws models, and keeps what stacks of a signature consist of.

    Args:
        task: The task.
        folds: Its data, on the device.
        score: What trials are compared by.
        device: Where they train.
        sharing: Batch sizes that one stack may have.
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
        sharing: BatchSharing,
        tell: Callable[[str], None],
    ) -> None:
        self._task, self._folds, self.score, self._device = task, folds, score, device
        self._sharing, self._tell = sharing, tell
        self._blueprints: dict[Signature, StackTemplate] = {}
        self._apart: set[Signature] = set()
        self._refused: set[Signature] = set()
        self.alone: dict[Signature, str] = {}

    def draw(self, lane: Lane) -> PreparedModel:
        """Builds a trial's model.

        Raises:
            Exception: Whatever the task raises; ``TaskError`` for impossible params.
        """
        splits = self._folds[lane.fold]
        params, model, noise = draw(self._task, splits, lane.params, lane.seed, self._device)
        n_train = len(splits.train)
        size = n_per_batch(params["batch_size"], n_train)
        signature = signature_of(model, params, size)
        if len(self._folds) > 1:
            # Folds by groups or by order are of several sizes.
            signature = replace(signature, settings=(signature.settings, n_train))
        return PreparedModel(lane.fold, params, model, noise, signature, size)

    def shared(self, draft: PreparedModel) -> PreparedModel | None:
        """Returns a draft for stacks of several batch sizes; None where they are not possible."""
        sharing = self._sharing
        is_possible = len(self._folds) == 1 and adds_up_in(draft.params)
        if not is_possible or not sharing.takes(draft.batch_size):
            return None
        signature = signature_of(draft.model, draft.params, sharing.batch_sizes)
        if signature in self._apart:
            return None
        return replace(draft, signature=signature, batch_size=sharing.micro)

    def separate(self, signature: Signature) -> None:
        """Notes that batch sizes do not share stacks of a signature."""
        self._apart.add(signature)
        self._blueprints.pop(signature, None)

    def blueprint(
        self, draft: PreparedModel, stacks: Mapping[Signature, Collection[object]]
    ) -> StackTemplate | None:
        """Returns what a stack consists of; None for lanes that train alone.

        Args:
            draft: Of a trial.
            stacks: Those that there are, by signature.
        """
        signature = draft.signature
        if signature in self._refused:
            return None
        if signature not in self._blueprints:
            planned = self._plan(draft)
            if not isinstance(planned, StackTemplate):
                self.refuse(signature, planned)
                return None
            self._keep(signature, planned, stacks)
        return self._blueprints[signature]

    def shared_blueprint(
        self, draft: PreparedModel, stacks: Mapping[Signature, Collection[object]]
    ) -> StackTemplate | None:
        """Returns the same for several batch sizes; None where micro-batches do not add up."""
        signature = draft.signature
        if signature not in self._blueprints:
            planned = self._plan(draft)
            adds = isinstance(planned, StackTemplate) and attempt(lambda: adds_up(planned))
            if not isinstance(planned, StackTemplate) or adds is not True:
                logger.info("%s: stacks of one batch size each", signature.digest())
                self.separate(signature)
                return None
            self._keep(signature, planned, stacks)
        return self._blueprints[signature]

    def refuse(self, signature: Signature, why: str | Failure) -> None:
        """Notes why trials of a signature train alone, each as a model of its own."""
        self._refused.add(signature)
        self.part(signature, why)

    def part(self, signature: Signature, why: str | Failure) -> None:
        """Notes why trials of a signature train one by one."""
        text = why.message.strip().rpartition("\n")[2] if isinstance(why, Failure) else why
        logger.info("%s trains lane by lane: %s", signature.digest(), text)
        self.alone[signature] = text
        self._tell(text)

    def _plan(self, draft: PreparedModel) -> StackTemplate | Failure | str:
        with products("float32", self._device):
            return attempt(lambda: plan(self._task, self._folds, self.score, draft))

    def _keep(
        self,
        signature: Signature,
        blueprint: StackTemplate,
        stacks: Mapping[Signature, Collection[object]],
    ) -> None:
        self._blueprints[signature] = replace(blueprint, stepper=stepper_for(self._device))
        # A study may have any number of signatures, and each blueprint holds a model.
        idle = [other for other in self._blueprints if not stacks.get(other)]
        for other in idle[:-_N_KEPT]:
            del self._blueprints[other]


def stepper_for(device: torch.device) -> Callable[[], Stepper]:
    """Returns what makes the steppers of stacks on a device."""
    if device.type != "cuda":
        return Eager
    # Whoever has no GPU does without it.
    from hpo.train.fused.stack.cuda_graphs import CudaGraph, Replayer

    return partial(Replayer, partial(CudaGraph, device))
