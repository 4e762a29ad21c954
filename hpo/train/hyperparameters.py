"""The standard hyperparameters: applied by the engine, whatever the task.

A study searches over them by putting their names in its space. Those that it leaves out have the
defaults below; a default may depend on the optimizer or the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hpo.errors import did_you_mean
from hpo.spec.params import Params
from hpo.train.optimizers import OPTIMIZERS
from hpo.train.precision import PRECISIONS
from hpo.train.schedules import SCHEDULES


@dataclass(frozen=True)
class By:
    """A default that depends on another hyperparameter.

    Attributes:
        name: ``optimizer`` or ``schedule``.
        values: Default by its value.
        otherwise: Default for all other values.
    """

    name: str
    values: Mapping[str, float]
    otherwise: float


@dataclass(frozen=True)
class Hyper:
    """A standard hyperparameter.

    Attributes:
        default: Its value where neither the space nor the task gives one.
        allows: Tells whether a value is possible.
        allowed: The possible values in words.
        doc: What it does.
    """

    default: Any | By
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


def _is_batch_size(value: Any) -> bool:
    return value == "full" or _whole(1)(value)


_POSITIVE: Final = _number(lambda value: value > 0)
_NOT_NEGATIVE: Final = _number(lambda value: value >= 0)
_BELOW_ONE: Final = _number(lambda value: 0 <= value < 1)

_LEARNING_RATE: Final = By(
    "optimizer", {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adagrad": 0.01}, 0.001
)
_MOMENTUM: Final = By("optimizer", {"momentum": 0.9, "nesterov": 0.9}, 0.0)
_WEIGHT_DECAY: Final = By("optimizer", {"adamw": 0.01}, 0.0)
_EPS: Final = By("optimizer", {"adagrad": 1e-10}, 1e-8)
_GAMMA: Final = By("schedule", {"step": 0.1}, 0.95)

HYPERPARAMETERS: Final[Mapping[str, Hyper]] = {
    "optimizer": Hyper(
        "sgd", lambda v: v in tuple(OPTIMIZERS), ", ".join(OPTIMIZERS), "The update rule."
    ),
    "learning_rate": Hyper(
        _LEARNING_RATE, _POSITIVE, "above 0", "Size of a step, before the schedule's factor."
    ),
    "batch_size": Hyper(
        32,
        _is_batch_size,
        'a whole number from 1 or "full"',
        "Samples a step; no more than there are; all of them with full.",
    ),
    "precision": Hyper(
        "float32",
        lambda v: v in PRECISIONS,
        ", ".join(PRECISIONS),
        "How exactly the model computes; weights and optimizer are float32.",
    ),
    "momentum": Hyper(
        _MOMENTUM,
        _BELOW_ONE,
        "from 0 to below 1",
        "Share of the last step that is kept; sgd without it is plain SGD.",
    ),
    "nesterov": Hyper(
        False,
        lambda v: isinstance(v, bool),
        "true or false",
        "Whether sgd's momentum looks ahead; without momentum it changes nothing.",
    ),
    "weight_decay": Hyper(
        _WEIGHT_DECAY, _NOT_NEGATIVE, "at least 0", "L2 penalty; decoupled for adamw."
    ),
    "beta1": Hyper(0.9, _BELOW_ONE, "from 0 to below 1", "Decay of Adam's mean gradient."),
    "beta2": Hyper(0.999, _BELOW_ONE, "from 0 to below 1", "Decay of Adam's mean square."),
    "alpha": Hyper(0.99, _BELOW_ONE, "from 0 to below 1", "Decay of RMSprop's mean square."),
    "eps": Hyper(_EPS, _POSITIVE, "above 0", "Added to the divisor of adaptive optimizers."),
    "schedule": Hyper(
        "constant",
        lambda v: v in tuple(SCHEDULES),
        ", ".join(SCHEDULES),
        "Course of the learning rate over the epochs.",
    ),
    "warmup_epochs": Hyper(
        0, _whole(0), "a whole number from 0", "Epochs over which the learning rate rises."
    ),
    "step_size": Hyper(
        10, _whole(1), "a whole number from 1", "Epochs between the drops of a step schedule."
    ),
    "gamma": Hyper(
        _GAMMA, _POSITIVE, "above 0", "Factor of a step schedule's drop, or of each epoch."
    ),
    "grad_clip": Hyper(
        0.0, _NOT_NEGATIVE, "at least 0", "Largest norm of the gradient; 0 leaves it alone."
    ),
    "label_smoothing": Hyper(
        0.0, _BELOW_ONE, "from 0 to below 1", "Share of a target spread over all classes."
    ),
    "l1": Hyper(0.0, _NOT_NEGATIVE, "at least 0", "L1 penalty on every parameter."),
    "dropout": Hyper(
        0.0, _BELOW_ONE, "from 0 to below 1", "For the task's model, which may read it or not."
    ),
}

# The engine leaves these to the task.
_FOR_TASKS: Final = ("dropout",)
_FOR_OPTIMIZERS: Final = ("optimizer", "learning_rate", "weight_decay")


def standard_names() -> frozenset[str]:
    """Returns the names of all standard hyperparameters."""
    return frozenset(HYPERPARAMETERS)


def applied(
    params: Mapping[str, Any], *, own_optimizer: bool = False, smoothing: bool = True
) -> tuple[str, ...]:
    """Returns the standard names that an engine reads at a point of the space.

    Args:
        params: Values; what is missing or unknown counts as the default.
        own_optimizer: Whether the task brings its optimizer.
        smoothing: Whether the loss can smooth labels: not if it is the task's own.
    """
    schedule = SCHEDULES.get(_chosen("schedule", params))
    names = [
        "batch_size",
        "precision",
        "schedule",
        "warmup_epochs",
        *(schedule.reads if schedule else ()),
    ]
    names += ["grad_clip", "l1"]
    if smoothing:
        names.append("label_smoothing")
    if not own_optimizer:
        recipe = OPTIMIZERS.get(_chosen("optimizer", params))
        names += [*_FOR_OPTIMIZERS, *(recipe.reads if recipe else ())]
    return tuple(names)


def complete(params: Params, defaults: Mapping[str, Any]) -> Params:
    """Returns params with a value for every standard hyperparameter that applies.

    Those that do not apply stay out, so that a task may use their names for something else.

    Args:
        params: What the space gives.
        defaults: What the task gives for names that the space does not.
    """
    given = {**defaults, **params.asdict()}
    standard = {name: _default(name, given) for name in (*applied(given), *_FOR_TASKS)}
    return Params({**standard, **given})


def mistakes(
    params: Mapping[str, Any], *, own_optimizer: bool = False, smoothing: bool = True
) -> dict[str, str]:
    """Finds standard hyperparameters of impossible values.

    Args:
        params: Values; names that do not apply are not looked at.
        own_optimizer: Whether the task brings its optimizer.
        smoothing: Whether the loss can smooth labels: not if it is the task's own.

    Returns:
        By name, what is allowed and what was found.
    """
    found = {}
    names = applied(params, own_optimizer=own_optimizer, smoothing=smoothing)
    for name in (*names, *_FOR_TASKS):
        hyper = HYPERPARAMETERS[name]
        if name in params and not hyper.allows(params[name]):
            value = params[name]
            hint = did_you_mean(value, hyper.allowed.split(", ")) if isinstance(value, str) else ""
            found[name] = f"must be {hyper.allowed}; found {value!r}{hint}"
    return found


def check(
    params: Mapping[str, Any], *, own_optimizer: bool = False, smoothing: bool = True
) -> list[str]:
    """Says in one sentence each, which begins with the name, what ``mistakes`` finds."""
    found = mistakes(params, own_optimizer=own_optimizer, smoothing=smoothing)
    return [f"{name} {message}" for name, message in found.items()]


def readers(name: str) -> str:
    """Returns who reads a standard hyperparameter, in words."""
    chosen = [
        *(f'optimizer = "{key}"' for key, recipe in OPTIMIZERS.items() if name in recipe.reads),
        *(f'schedule = "{key}"' for key, schedule in SCHEDULES.items() if name in schedule.reads),
    ]
    if name in _FOR_TASKS:
        return "tasks, and not by this one"
    if name == "label_smoothing":
        return "the default cross-entropy"
    return " or ".join(chosen) or "the engine's own optimizers"


def n_per_batch(batch_size: int | str, n: int) -> int:
    """Returns how many samples a batch has, of ``n`` that there are."""
    return n if batch_size == "full" else min(int(batch_size), n)


def _default(name: str, given: Mapping[str, Any]) -> Any:
    default = HYPERPARAMETERS[name].default
    if not isinstance(default, By):
        return default
    return default.values.get(_chosen(default.name, given), default.otherwise)


def _chosen(name: str, given: Mapping[str, Any]) -> str:
    return str(given.get(name, HYPERPARAMETERS[name].default))
