"""Hyperparameters: the standard ones, applied by the engine, whatever the task.

A study searches over them by putting their names in its space. Those that it leaves out have the
defaults of ``HYPERPARAMETERS``; a default may depend on the optimizer, the schedule or the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from hpo.errors import did_you_mean
from hpo.spec.space.params import Params
from hpo.train.data.arrays import Kind
from hpo.train.objective.losses import DEFAULT_LOSSES, LOSSES, losses_of
from hpo.train.recipe.augmentation import AUGMENTATIONS, names_for
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.recipe.schedules import SCHEDULES
from hpo.train.recipe.solo_hyperparameters import SOLO
from hpo.train.recipe.standard_hyperparameters import HYPERPARAMETERS, DependentDefault
from hpo.train.recipe.weight_averaging import AVERAGES

# The engine leaves these to the task.
_SAMPLES: Final = {
    1: "samples of numbers",
    2: "samples of images or sequences",
    3: "samples of images",
}
_FOR_TASKS: Final = ("dropout",)
_FOR_OPTIMIZERS: Final = ("optimizer", "learning_rate", "weight_decay")


@dataclass(frozen=True)
class Scope:
    """What of a task and its data decides which hyperparameters apply.

    Attributes:
        own_optimizer: Whether the task brings its optimizer.
        own_loss: Whether the task brings its loss.
        kind: Classification or regression; None if unknown.
        n_axes: Of one sample; 0 where that is not known, or values are no quantities.
    """

    own_optimizer: bool = False
    own_loss: bool = False
    kind: Kind | None = None
    n_axes: int = 0


ANYWHERE: Final = Scope()
"""Where nothing is known of the task."""


def standard_names() -> frozenset[str]:
    """Returns the names of all standard hyperparameters."""
    return frozenset(HYPERPARAMETERS)


def applied(params: Mapping[str, Any], scope: Scope = ANYWHERE) -> tuple[str, ...]:
    """Returns the standard names that an engine reads at a point of the space.

    Args:
        params: Values; what is missing or unknown counts as the default.
        scope: The task's.
    """
    schedule = SCHEDULES.get(_chosen("schedule", params))
    names = ["batch_size", "precision", "schedule", "warmup_epochs"]
    names += [*(schedule.reads if schedule else ()), "grad_clip", "l1", "patience", "averaging"]
    names += [name for name in SOLO if name != "channels_last" or scope.n_axes in (0, 3)]
    names += AVERAGES.get(_chosen("averaging", params), ())
    names += names_for(scope.n_axes)
    if not scope.own_loss:
        names += _of_loss(params, scope.kind)
    if not scope.own_optimizer:
        recipe = OPTIMIZERS.get(_chosen("optimizer", params))
        names += [*_FOR_OPTIMIZERS, *(recipe.reads if recipe else ())]
    return tuple(names)


def complete(params: Params, defaults: Mapping[str, Any], scope: Scope = ANYWHERE) -> Params:
    """Returns params with a value for every standard hyperparameter that applies.

    Those that do not apply stay out, so that a task may use their names for something else.

    Args:
        params: What the space gives.
        defaults: What the task gives for names that the space does not.
        scope: The task's.
    """
    given = {**defaults, **params.asdict()}
    # A task may leave the optimizer to the engine after all.
    names = (*applied(given, replace(scope, own_optimizer=False)), *_FOR_TASKS)
    standard = {name: _default(name, given, scope) for name in names}
    known = {name: value for name, value in standard.items() if value is not None}
    return Params({**known, **given})


def mistakes(params: Mapping[str, Any], scope: Scope = ANYWHERE) -> dict[str, str]:
    """Finds standard hyperparameters of impossible values.

    Args:
        params: Values; names that do not apply are not looked at.
        scope: The task's.

    Returns:
        By name, what is allowed and what was found.
    """
    found = {}
    for name in (*applied(params, scope), *_FOR_TASKS):
        if name not in params:
            continue
        hyper, value = HYPERPARAMETERS[name], params[name]
        allowed, is_right = hyper.allowed, hyper.allows(value)
        if name == "loss" and scope.kind:
            fitting = losses_of(scope.kind)
            allowed, is_right = f"{', '.join(fitting)} for a {scope.kind}", value in fitting
        if not is_right:
            names = allowed.partition(" for a ")[0].split(", ")
            hint = did_you_mean(value, names) if isinstance(value, str) else ""
            found[name] = f"must be {allowed}; found {value!r}{hint}"
    return found


def check(params: Mapping[str, Any], scope: Scope = ANYWHERE) -> list[str]:
    """Says in one sentence each, which begins with the name, what ``mistakes`` finds."""
    return [f"{name} {message}" for name, message in mistakes(params, scope).items()]


def readers(name: str) -> str:
    """Returns who reads a standard hyperparameter, in words."""
    chosen = [
        *(f'optimizer = "{key}"' for key, recipe in OPTIMIZERS.items() if name in recipe.reads),
        *(f'schedule = "{key}"' for key, schedule in SCHEDULES.items() if name in schedule.reads),
        *(f'averaging = "{key}"' for key, reads in AVERAGES.items() if name in reads),
        *(f'loss = "{key}"' for key, loss in LOSSES.items() if name in loss.reads),
    ]
    if name in _FOR_TASKS:
        return "tasks, and not by this one"
    if name in AUGMENTATIONS:
        return _SAMPLES[AUGMENTATIONS[name]]
    if name == "channels_last":
        return _SAMPLES[3]
    if name == "loss":
        return "tasks without a loss of their own"
    if name == "class_weights":
        return "the losses of classes"
    return " or ".join(chosen) or "the engine's own optimizers"


def n_per_batch(batch_size: int | str, n: int) -> int:
    """Returns how many samples a batch has, of ``n`` that there are."""
    return n if batch_size == "full" else min(int(batch_size), n)


def n_per_step(params: Mapping[str, Any], n: int) -> int:
    """Returns how many samples a step of the optimizer has, of ``n`` that there are.

    With gradient accumulation it takes several batches.
    """
    return min(n, n_per_batch(params["batch_size"], n) * int(params["gradient_accumulation"]))


def _of_loss(params: Mapping[str, Any], kind: Kind | None) -> list[str]:
    loss = LOSSES.get(str(params.get("loss", DEFAULT_LOSSES[kind or "classification"])))
    weights = [] if kind == "regression" else ["class_weights"]
    return ["loss", *weights, *(loss.reads if loss else ())]


def _default(name: str, given: Mapping[str, Any], scope: Scope) -> Any:
    default = HYPERPARAMETERS[name].default
    if not isinstance(default, DependentDefault):
        return default
    if default.name == "kind":
        return default.values.get(scope.kind or "", default.otherwise)
    return default.values.get(_chosen(default.name, given), default.otherwise)


def _chosen(name: str, given: Mapping[str, Any]) -> str:
    return str(given.get(name, HYPERPARAMETERS[name].default))
