"""What runs a worker's trials: an objective's, or a task's on an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.run.worker.worker_order import WorkerOrder


def make_executor(order: WorkerOrder, context: Any) -> Any:
    """Loads what the study trains and returns what runs its trials.

    Raises:
        HpoError: It cannot be loaded, or may not run here.
    """
    from hpo.run.worker.malloc_settings import keep_freed
    from hpo.tasks.code.resolve import Allow, load_objective, resolve

    keep_freed()
    spec = context.study.spec
    allow = Allow(order.allow)
    base_dir = Path(order.base_dir or context.study.base_dir or ".")
    if spec.objective is not None:
        from hpo.run.trials.objective_executor import ObjectiveExecutor

        return ObjectiveExecutor(context, load_objective(spec.objective, base_dir, allow))
    import torch

    from hpo.train.task import data_of
    from hpo.train.user_code_guard import user_code

    if not spec.directions:
        raise SpecError(
            f"{context.study.name} names no metric; a version of hpo that did not ask made it",
            hint="run its study file under another name",
        )
    torch.set_num_threads(order.n_threads)
    task = resolve(spec.task, spec.task_options, base_dir, allow)
    with user_code(f"the task {spec.task}"):
        task.setup()
        data = data_of(task)
        folds = data.folds(spec.validation)
    from hpo.run.files.model_metadata import ModelMetadata

    context.model_metadata = ModelMetadata(context.study, task, data, folds).of_trial
    return _task_executor(order, context, task, folds)


def _task_executor(order: WorkerOrder, context: Any, task: Any, folds: Any) -> Any:
    from hpo.run.assignment.scheduling import make_assigner
    from hpo.run.trials.task_executor import TaskExecutor
    from hpo.run.worker.fused_setup import fused_engine
    from hpo.train.loop.fold_engine import with_parts
    from hpo.train.loop.solo import SoloEngine

    spec = context.study.spec
    if spec.engine != "solo" and order.device != "mps":
        return fused_engine(context, task, folds, order.device)
    engine = SoloEngine(task, folds, spec.metrics, spec.directions[0], order.device)
    whole = with_parts(engine, spec.validation, spec.metrics, spec.directions[0])
    return TaskExecutor(context, whole, make_assigner(context))
