"""How many trials a worker trains at once, and which of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from hpo.run.asking import StructureFirst, run_length
from hpo.run.planning import Stacking, planning
from hpo.run.post import Post
from hpo.run.task_executor import TaskExecutor
from hpo.train.fused.engine import FusedEngine
from hpo.train.fused.sizing import MAX_LANES, Sizes
from hpo.train.task import Task

if TYPE_CHECKING:
    from hpo.train.data import Splits

_LEAST: Final = 4
# Who asks for many trials at once has learnt from few. A GPU pays for it, a CPU hardly.
_SHARES: Final = {"cpu": 16, "cuda": 4}


def most_lanes(n_trials: int | None, device: str) -> int:
    """Returns how many lanes a stack may have, whatever is fastest.

    Args:
        n_trials: Budget of the study; None for any number.
        device: As PyTorch names it.
    """
    if n_trials is None:
        return MAX_LANES
    share = _SHARES.get(device.partition(":")[0], 1)
    return min(MAX_LANES, max(_LEAST, n_trials // share))


def fused_engine(post: Post, task: Task, splits: Splits, device: str) -> TaskExecutor:
    """Returns what runs a study's trials as lanes of stacks.

    Args:
        post: The study, its ledger and its search.
        task: The task; its ``setup`` was called.
        splits: Its data.
        device: As PyTorch names it.
    """
    spec = post.study.spec
    most = most_lanes(post.study.budget.trials, device)
    sizes = Sizes(torch.device(device), least=2 if spec.engine == "fused" else 1, most=most)
    engine = FusedEngine(task, splits, spec.metrics[0], spec.directions[0], device, sizes)
    n_train = len(splits.train)
    stacking = Stacking(
        task, n_train, spec.space, run_length(spec.space, post.study.budget.trials, most)
    )
    asking = planning(post, stacking) or StructureFirst(post, task, n_train, most)
    return TaskExecutor(post, engine, asking)
