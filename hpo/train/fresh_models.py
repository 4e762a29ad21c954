"""Fresh models: a task must build a new one each time.

One that keeps a model and returns it again would carry weights from trial to trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final
from weakref import WeakSet, WeakValueDictionary

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.task import Task

# What earlier models of this process train, as long as it is referenced.
_MODULES: Final[WeakSet[nn.Module]] = WeakSet()
_WEIGHTS: Final[WeakValueDictionary[int, Tensor]] = WeakValueDictionary()
_STATISTICS: Final = ("running_mean", "running_var")


class KeptModelError(TaskError):
    """A task's model holds weights of a model that was built before."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where} must build a new model each time; {what}",
            hint="create every layer in model(); what is kept would carry its weights from trial "
            "to trial. Frozen layers (requires_grad = False) may be kept",
        )


def require_new(where: str, model: nn.Module) -> None:
    """Refuses layers and weights that an earlier model had, and remembers these.

    Args:
        where: The function that built the model, for the error.
        model: As it was built.

    Raises:
        KeptModelError: Something that is trained was there before.
    """
    own = {name: module for name, module in model.named_modules() if any(_changing(module))}
    for name, module in own.items():
        place = f"its layer {name!r}" if name else "its model"
        if module in _MODULES:
            raise KeptModelError(where, f"{place} is one that it returned before")
        for key, weight in _changing(module):
            if _WEIGHTS.get(id(weight)) is weight:
                raise KeptModelError(where, f"{place} has the {key} of one that it returned before")
    _MODULES.update(own.values())
    _WEIGHTS.update({id(w): w for module in own.values() for _, w in _changing(module)})


def require_independent(task: Task, model: nn.Module, params: Params) -> None:
    """Builds a second model, and refuses it where it holds what became of the first.

    That finds weights that are the same memory, or a copy of trained ones, in layers that are new.

    Args:
        task: The task.
        model: Built for the same params; it is as before afterwards.
        params: With all defaults.

    Raises:
        KeptModelError: The second model's weights are those of the first.
    """
    where = f"{type(task).__name__}.model"
    trained = [w for module in model.modules() for _, w in _changing(module)]
    trained = [w for w in trained if w.is_floating_point() and not w.is_meta]
    before = [weight.detach().clone() for weight in trained]
    with torch.no_grad():
        try:
            for weight in trained:
                weight.fill_(math.nan)
            second = task.model(params)
            found = [name for name, w in _all_changing(second) if w.isnan().any()]
        finally:
            for weight, value in zip(trained, before, strict=True):
                weight.copy_(value)
    if found:
        raise KeptModelError(where, f"{found[0]} holds what an earlier model has learnt")


def _changing(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Returns what training changes of a module itself, without its children."""
    for name, weight in module.named_parameters(recurse=False):
        if weight.requires_grad:
            yield name, weight
    for name, buffer in module.named_buffers(recurse=False):
        if name in _STATISTICS:
            yield name, buffer


def _all_changing(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in model.named_modules():
        for name, weight in _changing(module):
            yield f"{prefix}.{name}".lstrip("."), weight
