"""Own augmentation: a task's ``augment``, with its result checked."""

from __future__ import annotations

from collections.abc import Callable

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.data.batch import Tensors, leaves
from hpo.train.task import Task
from hpo.train.user_code_guard import found_instead


def own_augmentation(task: Task, params: Params) -> Callable[[Tensors], Tensors] | None:
    """Returns what a task makes of a training batch; None where it has no ``augment``.

    Args:
        task: The task.
        params: Of the trial, with defaults filled in.
    """
    if not task.has_own("augment"):
        return None
    where = f"{type(task).__name__}.augment"

    def augment(x: Tensors) -> Tensors:
        n, found = _n_samples(x), task.augment(x, params)
        if not leaves(found):
            raise TaskError(f"{where} must return the samples; found {found_instead(found)}")
        if _n_samples(found) != n:
            raise TaskError(
                f"{where} must return as many samples as it is given, {n}; "
                f"found {_n_samples(found)}"
            )
        return found

    return augment


def _n_samples(x: Tensors) -> int:
    return len(leaves(x)[0])
