"""First forward pass of a model: a failure names the layer and the line of the task."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.tracebacks import headline
from hpo.train.criteria import named_form, require_own
from hpo.train.data.batch import Tensors, call, leaves, mapped
from hpo.train.user_code_guard import advice

if TYPE_CHECKING:
    from hpo.train.task import Task

_PACKAGES: Final = (Path(torch.__file__).parent, Path(__file__).parents[2])
_MAX_LAYER: Final = 120


def first_outputs(task: Task, model: nn.Module, x: Tensors) -> Tensors:
    """Returns a model's outputs for a few samples.

    Args:
        task: The model's.
        model: In evaluation mode.
        x: Samples of shape [N, ...], or a tuple or dict of such.

    Raises:
        TaskError: The model raises, or returns something other than one tensor where the task's
            own loss does not take several.
    """
    path: list[tuple[str, nn.Module, Any]] = []
    with _watched(model, path):
        try:
            # A copy, because a layer that works in place would else write into the data.
            outputs = call(model, mapped(Tensor.clone, x))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise TaskError(
                f"{_place(task, error)}: {_story(path, error)}", hint=advice(str(error))
            ) from error
    if isinstance(outputs, Tensor):
        return outputs
    if not leaves(outputs):
        raise TaskError(
            f"the model must return one tensor; it returns {named_form(outputs)}",
            hint="return the tensor that the loss is to see, at the end of forward()",
        )
    require_own(task, f"the model returns {named_form(outputs)}")
    return outputs


@contextmanager
def _watched(model: nn.Module, path: list[tuple[str, nn.Module, Any]]) -> Iterator[None]:
    """Keeps the layers that a forward pass is in, the innermost last."""
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, inputs: Any) -> None:
        path.append((names[module], module, inputs))

    def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
        path.pop()

    handles = [module.register_forward_pre_hook(enter) for module in names]
    handles += [module.register_forward_hook(leave) for module in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _place(task: Task, error: BaseException) -> str:
    """Returns the line of the task's file where it happened, else that of its model()."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(p) for p in _PACKAGES)]
    if own:
        return f"{Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name}"
    try:
        file, line = inspect.getsourcefile(type(task)), inspect.getsourcelines(task.model)[1]
    except (OSError, TypeError):
        return f"{type(task).__name__}.model"
    return f"{Path(file or '').name}, line {line}, {type(task).__name__}.model"


def _story(path: list[tuple[str, nn.Module, Any]], error: BaseException) -> str:
    if not path:
        return f"the model raises {headline(error)}"
    name, module, inputs = path[-1]
    shown = " ".join(repr(module).split())
    layer = shown if len(shown) <= _MAX_LAYER else type(module).__name__
    where = f"layer {name!r}, {layer}," if name else f"the model, {layer},"
    given = ", ".join(_shape(value) for value in inputs) or "nothing"
    return f"{where} is given {given} and raises {headline(error)}"


def _shape(value: Any) -> str:
    return f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
