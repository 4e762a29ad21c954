"""Fused setup: the executor that trains a study's trials as lanes of stacks."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.scheduling import make_assigner
from hpo.run.assignment.structural_params import StructuralParams
from hpo.run.assignment.structure_first import StructureFirst, run_length
from hpo.run.link.context import WorkerContext
from hpo.run.trials.task_executor import TaskExecutor
from hpo.spec.space.search_space import SearchSpace
from hpo.store.rows import events, stack_statistics
from hpo.store.rows.events import Event
from hpo.store.studies import confirmations
from hpo.train.data.loading.loaded_splits import AnySplits, LoadedSplits
from hpo.train.fused.admission.autotune import MAX_LANES, StackSize, StackSizes
from hpo.train.fused.admission.batch_sharing import BatchSharing, batch_sharing_for
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.loop.fold_engine import with_parts
from hpo.train.task import Task


@dataclass(frozen=True)
class LaneSettings:
    """Settings of how many lanes a stack may have, whatever is fastest.

    A search that proposes many trials at once has learnt from few.

    Attributes:
        least: Every study may have so many lanes. Source: judgement; not measured.
        trials_per_lane: Trials of the budget for each lane, by the kind of the device; 1 for other
            devices. Few lanes cost a CPU little and a GPU much of its throughput. Source:
            ``benchmarks/results/lcbench.md``, 4 lanes against 64, with the throughput of
            ``benchmarks/results/fused_cpu.md``.
    """

    least: int = 4
    trials_per_lane: Mapping[str, int] = field(default_factory=lambda: {"cpu": 16, "cuda": 4})


def most_lanes(n_trials: int | None, device: str, settings: LaneSettings | None = None) -> int:
    """Returns how many lanes a stack may have, whatever is fastest.

    Args:
        n_trials: Budget of the study; None for any number.
        device: As PyTorch names it.
        settings: The usual ones by default.
    """
    if n_trials is None:
        return MAX_LANES
    settings = settings or LaneSettings()
    n_each = settings.trials_per_lane.get(device.partition(":")[0], 1)
    return min(MAX_LANES, max(settings.least, n_trials // n_each))


def fused_engine(
    context: WorkerContext, task: Task, folds: tuple[AnySplits, ...], device: str
) -> TaskExecutor:
    """Returns the executor that trains a study's trials as lanes of stacks.

    Args:
        context: The study, its ledger and its search.
        task: The task; its ``setup`` was called.
        folds: Its data, of each fold.
        device: As PyTorch names it.
    """
    spec = context.study.spec
    # Runs of a confirmation learn nothing from one another, so many may train at once.
    confirms = context.is_confirmation
    most = MAX_LANES if confirms else most_lanes(context.study.budget.trials, device)
    here, client = hardware(device), context.client

    def remember(digest: str, size: StackSize) -> None:
        given = digest, size.lanes, size.slowdown
        client.try_call(lambda: stack_statistics.remember(context.db, here, *given), None)

    def tell(reason: str) -> None:
        text = f"trials of one structure train one by one: {reason}"
        event = Event(context.study.study_id, "alone", text, worker_id=context.worker_id)
        write = partial(
            context.db.transaction, lambda c: events.record(c, [event], context.db.now(c))
        )
        client.try_call(write, None)

    sizes = StackSizes(
        torch.device(device),
        known={
            digest: StackSize(found.lanes, found.slowdown, found.age_s)
            for digest, found in client.try_call(
                lambda: stack_statistics.known(context.db, here), {}
            ).items()
        },
        tell=remember,
        least=2 if spec.engine == "fused" else 1,
        most=min(MAX_LANES, most * spec.validation.n_parts),
        batch_sharing=_batch_sharing(spec.space, folds[0], device),
    )
    direction = spec.directions[0]
    engine = FusedEngine(task, folds, spec.metrics, direction, device, sizes, tell)
    whole = with_parts(engine, spec.validation, spec.metrics, direction)
    if confirms:
        study_id = context.study.study_id
        n_each = client.call(lambda: confirmations.most_runs(context.db, study_id))
        return TaskExecutor(context, whole, SamplerAssigner(context, at_once=n_each))
    structure_first = StructureFirst(
        StructuralParams(task, len(folds[0].train), spec.space),
        run_length(spec.space, context.study.budget.trials, most),
        engine.shares_batch_sizes,
    )
    return TaskExecutor(context, whole, make_assigner(context, structure_first))


def _batch_sharing(space: SearchSpace, splits: AnySplits, device: str) -> BatchSharing:
    # Batches of a loader are shared by the lanes of one batch size.
    if isinstance(splits, LoadedSplits):
        return BatchSharing()
    return batch_sharing_for(space, len(splits.train), device)


def hardware(device: str) -> str:
    """Returns the name under which measurements are stored: equal devices share them."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {_cpu_name()}, {torch.get_num_threads()} threads"


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "CPU"
