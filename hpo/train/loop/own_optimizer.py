"""Own optimizer: a task's ``optimizer``, with its parameters compared to the model's."""

from __future__ import annotations

import logging
from typing import Any, Final

from torch import nn
from torch.optim import Optimizer

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.task import Task
from hpo.train.user_code_guard import found_instead

logger = logging.getLogger(__name__)

_TOLD: Final[set[str]] = set()
_MOST_NAMES: Final = 3


def own_optimizer(task: Task, model: nn.Module, params: Params) -> Optimizer | None:
    """Returns a task's own optimizer, or None.

    A warning says once which parameters of the model it leaves out.

    Raises:
        TaskError: It is something else, or has parameters that are not the model's.
        Exception: Whatever the task raises.
    """
    optimizer: Any = task.optimizer(model, params)
    where = f"{type(task).__name__}.optimizer"
    if not isinstance(optimizer, Optimizer | None):
        raise TaskError(
            f"{where} must return an Optimizer or None; found {found_instead(optimizer)}"
        )
    if optimizer is None:
        return None
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(parameter): (name, parameter) for name, parameter in model.named_parameters()}
    if foreign := len(given - set(own)):
        raise TaskError(
            f"{where} has {foreign} parameter{'s' * (foreign > 1)} that the model does not have",
            hint="use model.parameters(), of the model that optimizer() is given: others would "
            "neither be saved nor be new for each trial",
        )
    left_out = [name for key, (name, p) in own.items() if p.requires_grad and key not in given]
    if left_out and where not in _TOLD:
        _TOLD.add(where)
        more = len(left_out) - _MOST_NAMES
        logger.warning(
            "%s leaves out %s%s: they stay as they are; for frozen layers set "
            "requires_grad = False",
            where,
            ", ".join(left_out[:_MOST_NAMES]),
            f" and {more} more" if more > 0 else "",
        )
    return optimizer
