"""Standard hyperparameters: what each means, its possible values and its default."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hpo.train.objective.losses import CLASS_WEIGHTS, DEFAULT_LOSSES, LOSSES
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.recipe.precision import PRECISIONS
from hpo.train.recipe.schedules import SCHEDULES
from hpo.train.recipe.solo_hyperparameters import SOLO
from hpo.train.recipe.weight_averaging import AVERAGES


@dataclass(frozen=True)
class DependentDefault:
    """A default that depends on another hyperparameter.

    Attributes:
        name: ``optimizer``, ``schedule``, or ``kind`` for that of the data.
        values: Default by its value.
        otherwise: Default for all other values.
    """

    name: str
    values: Mapping[str, Any]
    otherwise: Any


@dataclass(frozen=True)
class StandardHyperparameter:
    """A standard hyperparameter.

    Attributes:
        default: Its value where neither the space nor the task gives one.
        allows: Returns whether a value is possible.
        allowed: The possible values in words.
        doc: What it does.
    """

    default: Any | DependentDefault
    allows: Callable[[Any], bool]
    allowed: str
    doc: str


def _number(accepts: Callable[[float], bool]) -> Callable[[Any], bool]:
    def allows(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and accepts(value)

    return allows


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _one_of(names: Iterable[str]) -> Callable[[Any], bool]:
    allowed = tuple(names)
    return lambda value: value in allowed


def _is_batch_size(value: Any) -> bool:
    return value == "full" or _whole(1)(value)


_POSITIVE: Final = _number(lambda value: value > 0)
_NOT_NEGATIVE: Final = _number(lambda value: value >= 0)
_BELOW_ONE: Final = _number(lambda value: 0 <= value < 1)

_LEARNING_RATE: Final = DependentDefault(
    "optimizer", {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.01}, 0.001
)
_MOMENTUM: Final = DependentDefault("optimizer", {"momentum": 0.9, "nesterov": 0.9}, 0.0)
_WEIGHT_DECAY: Final = DependentDefault("optimizer", {"adamw": 0.01}, 0.0)
_EPS: Final = DependentDefault("optimizer", {"adagrad": 1e-10}, 1e-8)
_LOSS: Final = DependentDefault(
    "kind", {str(kind): name for kind, name in DEFAULT_LOSSES.items()}, None
)
_GAMMA: Final = DependentDefault("schedule", {"step": 0.1}, 0.95)

HYPERPARAMETERS: Final[Mapping[str, StandardHyperparameter]] = {
    "optimizer": StandardHyperparameter(
        "sgd", _one_of(OPTIMIZERS), ", ".join(OPTIMIZERS), "The update rule."
    ),
    "learning_rate": StandardHyperparameter(
        _LEARNING_RATE, _POSITIVE, "above 0", "Size of a step, before the schedule's factor."
    ),
    "batch_size": StandardHyperparameter(
        32,
        _is_batch_size,
        'a whole number from 1 or "full"',
        "Samples a step; no more than there are; all of them with full.",
    ),
    "precision": StandardHyperparameter(
        "float32",
        _one_of(PRECISIONS),
        ", ".join(PRECISIONS),
        "How exactly the model computes; weights and optimizer are float32.",
    ),
    "gradient_accumulation": StandardHyperparameter(
        SOLO["gradient_accumulation"],
        _whole(1),
        "a whole number from 1",
        "Batches a step, whose gradients are averaged: large batches in little memory.",
    ),
    "compile": StandardHyperparameter(
        SOLO["compile"],
        lambda v: isinstance(v, bool),
        "true or false",
        "Whether torch.compile compiles the model for training.",
    ),
    "channels_last": StandardHyperparameter(
        SOLO["channels_last"],
        lambda v: isinstance(v, bool),
        "true or false",
        "Whether images and the weights of convolutions are in memory pixel by pixel.",
    ),
    "momentum": StandardHyperparameter(
        _MOMENTUM,
        _BELOW_ONE,
        "from 0 to below 1",
        "Share of the last step that is kept; sgd without it is plain SGD.",
    ),
    "nesterov": StandardHyperparameter(
        False,
        lambda v: isinstance(v, bool),
        "true or false",
        "Whether sgd's momentum looks ahead; without momentum it changes nothing.",
    ),
    "weight_decay": StandardHyperparameter(
        _WEIGHT_DECAY, _NOT_NEGATIVE, "at least 0", "L2 penalty; decoupled for adamw."
    ),
    "beta1": StandardHyperparameter(
        0.9, _BELOW_ONE, "from 0 to below 1", "Decay of Adam's mean gradient."
    ),
    "beta2": StandardHyperparameter(
        0.999, _BELOW_ONE, "from 0 to below 1", "Decay of Adam's mean square."
    ),
    "alpha": StandardHyperparameter(
        0.99, _BELOW_ONE, "from 0 to below 1", "Decay of RMSprop's mean square."
    ),
    "eps": StandardHyperparameter(
        _EPS, _POSITIVE, "above 0", "Added to the divisor of adaptive optimizers."
    ),
    "schedule": StandardHyperparameter(
        "constant",
        _one_of(SCHEDULES),
        ", ".join(SCHEDULES),
        "Course of the learning rate over the epochs.",
    ),
    "warmup_epochs": StandardHyperparameter(
        0, _whole(0), "a whole number from 0", "Epochs over which the learning rate rises."
    ),
    "step_size": StandardHyperparameter(
        10, _whole(1), "a whole number from 1", "Epochs between the drops of a step schedule."
    ),
    "gamma": StandardHyperparameter(
        _GAMMA, _POSITIVE, "above 0", "Factor of a step schedule's drop, or of each epoch."
    ),
    "grad_clip": StandardHyperparameter(
        0.0, _NOT_NEGATIVE, "at least 0", "Largest norm of the gradient; 0 leaves it alone."
    ),
    "loss": StandardHyperparameter(_LOSS, _one_of(LOSSES), ", ".join(LOSSES), "What is minimised."),
    "class_weights": StandardHyperparameter(
        "none",
        _one_of(CLASS_WEIGHTS),
        ", ".join(CLASS_WEIGHTS),
        "Whether rare classes count more, in what is minimised.",
    ),
    "focal_gamma": StandardHyperparameter(
        2.0, _NOT_NEGATIVE, "at least 0", "How much less the focal loss heeds what is likely."
    ),
    "huber_delta": StandardHyperparameter(
        1.0, _POSITIVE, "above 0", "Error from which on the Huber loss grows linearly."
    ),
    "patience": StandardHyperparameter(
        0,
        _whole(0),
        "a whole number from 0",
        "Epochs without a better one after which a trial is complete; 0 for all epochs.",
    ),
    "averaging": StandardHyperparameter(
        "none",
        _one_of(AVERAGES),
        ", ".join(AVERAGES),
        "Average of the weights that is evaluated in their place.",
    ),
    "ema_decay": StandardHyperparameter(
        0.99, _BELOW_ONE, "from 0 to below 1", "Share of the old average that each step keeps."
    ),
    "swa_start": StandardHyperparameter(
        10, _whole(1), "a whole number from 1", "Epoch from whose end on weights are averaged."
    ),
    "augment_shift": StandardHyperparameter(
        0.0, _BELOW_ONE, "from 0 to below 1", "Largest shift of a sample, as a share of its size."
    ),
    "augment_flip": StandardHyperparameter(
        0.0, _number(lambda v: 0 <= v <= 1), "from 0 to 1", "Probability that an image is mirrored."
    ),
    "augment_cutout": StandardHyperparameter(
        0.0, _BELOW_ONE, "from 0 to below 1", "Side of a square set to 0, as a share of the size."
    ),
    "augment_noise": StandardHyperparameter(
        0.0, _NOT_NEGATIVE, "at least 0", "Standard deviation of noise that is added to samples."
    ),
    "mixup": StandardHyperparameter(
        0.0, _NOT_NEGATIVE, "at least 0", "Alpha of the mixture of two samples; 0 mixes none."
    ),
    "label_smoothing": StandardHyperparameter(
        0.0, _BELOW_ONE, "from 0 to below 1", "Share of a target spread over all classes."
    ),
    "l1": StandardHyperparameter(
        0.0, _NOT_NEGATIVE, "at least 0", "L1 penalty on every parameter."
    ),
    "dropout": StandardHyperparameter(
        0.0, _BELOW_ONE, "from 0 to below 1", "For the task's model, which may read it or not."
    ),
}
