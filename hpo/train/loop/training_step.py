"""Training step: samples forward, the loss back, and the optimizer's change of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.data.batch import Tensors, call, leaves, mapped
from hpo.train.loop.compiled_model import CompiledModel
from hpo.train.loop.optimizer_step import OptimizerStep
from hpo.train.recipe.augmentation import Augmentation, partners
from hpo.train.recipe.counter_based_dropout import DropoutRng
from hpo.train.recipe.hyperparameters import n_per_batch
from hpo.train.recipe.precision import cast, full
from hpo.train.recipe.random_streams import batch_bounds

_IMAGES: Final = 4
_Mixture: TypeAlias = tuple[Tensor, Tensors] | None


class TrainingStep:
    """The steps of one trial.

    Args:
        params: With a value for every standard hyperparameter that applies.
        model: In training mode.
        loss: What is minimised, of outputs and targets of a batch.
        dropout_rng: What the model's dropout layers draw from.
        optimizer: Takes the gradients.
        accept: Raises where the loss does not take several outputs.
    """

    def __init__(
        self,
        params: Params,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        dropout_rng: DropoutRng,
        optimizer: OptimizerStep,
        accept: Callable[[Tensors], None],
    ) -> None:
        self._params, self._loss_of, self._accept = params, loss, accept
        self._dropout_rng, self._optimizer = dropout_rng, optimizer
        self._device = optimizer.device
        self._is_compiled = bool(params["compile"])
        self._forward: nn.Module | CompiledModel = model
        if self._is_compiled:
            self._forward = CompiledModel(model)

    def take(
        self, x: Tensors, y: Tensors, key: int, augmentation: Augmentation | None, i: int
    ) -> Tensor:
        """Takes one step.

        Args:
            x: Inputs of shape [B, ...], or a tuple or dict of such.
            y: Targets of shape [B, ...].
            key: Of the step's dropout.
            augmentation: Of the epoch.
            i: Number of the step in the epoch.

        Returns:
            The loss before the step, a scalar on the device.

        Raises:
            TaskError: The loss is no single number, or has no gradient.
        """
        mixture: _Mixture = None
        if augmentation is not None:
            x = augmentation.inputs(i, x.unsqueeze(0)).squeeze(0)
            if augmentation.shares is not None:
                mixture = augmentation.shares[i, 0], mapped(_partners, y)
        self._optimizer.begin()
        loss = self._gradients(x, y, key, mixture)
        self._optimizer.finish()
        return loss

    def _gradients(self, x: Tensors, y: Tensors, key: int, mixture: _Mixture) -> Tensor:
        """Adds a step's gradients up, batch after batch; returns its loss."""
        if self._params["gradient_accumulation"] == 1:
            self._dropout_rng.begin(self._key(key))
            return self._optimizer.add(self._loss(x, y, mixture))
        n, losses = len(leaves(x)[0]), []
        for begin, end in batch_bounds(n, n_per_batch(self._params["batch_size"], n)):
            # The masks that these samples would have in a batch of all of them.
            offset = torch.tensor(begin, dtype=torch.int32, device=self._device)
            self._dropout_rng.begin(self._key(key), offset, end - begin)
            rows = slice(begin, end)
            part = None if mixture is None else (mixture[0], _cut(mixture[1], rows))
            loss = self._loss(_cut(x, rows), _cut(y, rows), part)
            # A mean over all samples: the last batch may have fewer.
            losses.append(self._optimizer.add(loss, (end - begin) / n))
        return torch.stack(losses).sum()

    def _key(self, key: int) -> Tensor | int:
        if not self._is_compiled:
            return key
        # A number would be compiled into the model: anew for each step.
        return torch.tensor(key, dtype=torch.int32, device=self._device)

    def _loss(self, x: Tensors, y: Tensors, mixture: _Mixture) -> Tensor:
        outputs = self._outputs(x)
        if mixture is None:
            return self._loss_of(outputs, y)
        share, other = mixture
        return share * self._loss_of(outputs, y) + (1 - share) * self._loss_of(outputs, other)

    def _outputs(self, x: Tensors) -> Tensors:
        if self._params.get("channels_last"):
            x = mapped(_channels_last, x)
        with cast(self._params["precision"], self._device):
            outputs = full(call(self._forward, x))
        if not isinstance(outputs, Tensor):
            self._accept(outputs)
        return outputs


def _cut(values: Tensors, rows: slice) -> Tensors:
    return mapped(lambda tensor: tensor[rows], values)


def _channels_last(x: Tensor) -> Tensor:
    is_image = x.dim() == _IMAGES
    return x.contiguous(memory_format=torch.channels_last) if is_image else x


def _partners(y: Tensor) -> Tensor:
    return partners(y.unsqueeze(0)).squeeze(0)
