"""Task checks: mistakes in a task that cause no error, or an error that explains nothing.

Shapes: N samples, C classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.train.checks.first_forward import first_outputs
from hpo.train.criteria import ONE_OUTPUT, require_own
from hpo.train.engine import Failure
from hpo.train.evaluation import as_float, floats
from hpo.train.loop.training import trainable
from hpo.train.task import Task
from hpo.train.user_code_guard import attempt

if TYPE_CHECKING:
    from hpo.train.data.loading.loaded_splits import AnySplits

logger = logging.getLogger(__name__)

_N_ROWS: Final = 64
_CLOSE: Final = 1e-4
_INSTEAD: Final = (
    "define loss() and metrics()",
    f"a single one with the loss {', '.join(ONE_OUTPUT[:-1])} or {ONE_OUTPUT[-1]}",
)


def require_sound(
    task: Task, model: nn.Module, splits: AnySplits, params: Mapping[str, Any]
) -> None:
    """Looks at what a model returns for a few samples, and at what the task makes of it.

    Args:
        task: The task.
        model: Untrained.
        splits: Its data, on the model's device.
        params: Of the model, with defaults filled in.

    Raises:
        TaskError: Nothing can be trained, an output for a class is missing, or outputs [N, 1] and
            targets [N] are compared each with each.
    """
    if not task.has_own("optimizer"):
        trainable(model)
    _warn_of_hidden(model)
    model.eval()
    with torch.inference_mode():
        batch = splits.val.head(_N_ROWS)
        targets = batch.targets
        outputs = first_outputs(task, model, task.prepare(batch.inputs))
        if not isinstance(targets, Tensor):
            require_own(task, "a sample has several targets")
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            return
        if splits.n_classes and not task.has_own("loss"):
            _require_classes(outputs, targets, splits.n_classes, str(params["loss"]))
        if outputs.shape == (*targets.shape, 1):
            _require_pairs(task, outputs, targets)


def _warn_of_hidden(model: nn.Module) -> None:
    """Warns of layers that PyTorch does not see, as it does not look into lists."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            inside = list(value.values()) if isinstance(value, dict) else value
            # Those that begin with _ are PyTorch's own.
            if key.startswith("_") or not isinstance(inside, list | tuple):
                continue
            n = sum(isinstance(item, nn.Module | nn.Parameter) for item in inside)
            if n:
                logger.warning(
                    "%s: %d layer%s in a plain %s not trained; use nn.ModuleList or nn.ModuleDict",
                    f"{type(module).__name__} {name}".rstrip() + f".{key}",
                    n,
                    "s" * (n != 1),
                    f"{type(value).__name__} {'are' if n != 1 else 'is'}",
                )


def require_finite(loss: float) -> None:
    """Refuses a loss that is no number before anything was trained.

    Raises:
        TaskError: It is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise TaskError(
            f"the loss of the untrained model is {loss}",
            hint="look for a division by 0, a logarithm of 0, or inputs that are far from 1",
        )


def _require_classes(outputs: Tensor, targets: Tensor, n_classes: int, loss: str) -> None:
    # On a GPU a class without an output ends the process; on a CPU it is an index out of bounds.
    # One too many trains, and what the outputs stand for is not known then.
    n = 1 if outputs.shape == targets.shape else outputs.shape[-1]
    is_one_each = outputs.dim() == targets.dim() + 1
    takes_one = loss in ONE_OUTPUT
    if takes_one and n == 1 and n_classes == 2:
        return
    too_few = n < n_classes and (is_one_each or (takes_one and n == 1))
    too_many = n > n_classes and is_one_each and targets.dim() == 1
    if too_few or too_many:
        raise TaskError(
            f"the model returns {n} output{'s' * (n > 1)} a sample, and the data has "
            f"{n_classes} classes",
            hint=f"return one output a class, or {_INSTEAD[n_classes == 2]}",
        )


def _require_pairs(task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Refuses functions that compare [N, 1] with [N]: PyTorch makes [N, N] of both.

    Where that does not happen, outputs of shape [N] give the same value, or are refused.
    """
    for name, values in _own(task).items():
        given = values(outputs, targets)
        paired = attempt(lambda values=values: values(outputs.squeeze(-1), targets))  # type: ignore[misc]
        if isinstance(paired, Failure) or _are_close(given, paired):
            continue
        n = len(targets)
        raise TaskError(
            f"{type(task).__name__}.{name} compares outputs of shape [{n}, 1] with targets of "
            f"shape [{n}], which PyTorch broadcasts to [{n}, {n}]",
            hint=f"use outputs.squeeze(-1) in {name}(), or at the end of the model",
        )


def _own(task: Task) -> Mapping[str, Callable[[Tensor, Tensor], dict[str, float]]]:
    """Returns the task's own functions, each wrapped to return plain numbers."""

    def loss(outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return {"loss": as_float("loss", task.loss(outputs, targets))}

    def metrics(outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return floats(task.metrics(outputs, targets), "val")

    return {name: f for name, f in (("loss", loss), ("metrics", metrics)) if task.has_own(name)}


def _are_close(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    def close(a: float, b: float) -> bool:
        # What is NaN anyway says nothing.
        return math.isnan(a) or math.isnan(b) or math.isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-6)

    return all(close(value, second.get(name, math.nan)) for name, value in first.items())
