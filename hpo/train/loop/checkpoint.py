"""Checkpoints: files of trials, written all at once or not at all, read without running code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.train.engine import Lane

FORMAT: Final = 1
T = TypeVar("T")

logger = logging.getLogger(__name__)


class CheckpointError(TaskError):
    """A checkpoint is missing, corrupt, of another format or of another trial."""


@dataclass(frozen=True)
class BestWeights:
    """The best epoch of a trial.

    Attributes:
        epoch: Epochs completed, this one included; 0 before there is one.
        metrics: What the epoch reported.
        weights: The model's state dict then, on the CPU.
    """

    epoch: int
    metrics: dict[str, float]
    weights: dict[str, Any]


@dataclass(frozen=True)
class Last:
    """What the latest epoch reported, for a trial that was saved but not settled."""

    metrics: dict[str, float]
    learning_rate: float
    seconds: float
    samples_per_s: float


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to resume a trial, in any engine; tensors are on the CPU.

    Generators have no part in it: each epoch seeds them anew (``hpo.train.recipe.random_streams``).

    Attributes:
        seed: The trial's.
        params: The trial's, without defaults.
        epoch: Epochs completed.
        horizon: Epochs that the schedule spans.
        model: The model's state dict.
        optimizer: The optimizer's state dict as torch.optim has it; parameters are numbered in
            the order of the model's trainable ``named_parameters``.
        best: The best epoch so far.
        last: The latest epoch; None before the first.
        average: The state dict that the model has by its average weights; empty without any.
        scaler: The gradient scaler's state dict, in float16; empty otherwise.
    """

    seed: int
    params: dict[str, Any]
    epoch: int
    horizon: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    best: BestWeights
    last: Last | None
    average: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the checkpoint.

        Raises:
            OSError: The file cannot be written; an older one is left as it was.
        """
        write(self._values(), path)

    def dump(self) -> bytes:
        """Returns what ``save`` would write."""
        return dump(self._values())

    def _values(self) -> dict[str, Any]:
        # asdict would copy every tensor.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["best"] = {f.name: getattr(self.best, f.name) for f in fields(self.best)}
        values["last"] = asdict(self.last) if self.last else None
        return {"format": FORMAT, **values}

    @classmethod
    def load(cls, source: Path | bytes) -> Checkpoint:
        """Reads a checkpoint from its file, or from what ``dump`` has returned.

        Raises:
            CheckpointError: There is no usable one.
        """
        values = read(source)
        if values.pop("format", None) != FORMAT:
            raise CheckpointError(f"{named(source)} is no checkpoint of this version of hpo")
        try:
            best, last = values.pop("best"), values.pop("last")
            return cls(**values, best=BestWeights(**best), last=Last(**last) if last else None)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{named(source)} is no checkpoint of a trial: {error}"
            ) from error


def dump(values: Mapping[str, Any]) -> bytes:
    """Returns tensors and plain values as they are written into a file."""
    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    return buffer.getvalue()


def write(values: Mapping[str, Any], path: Path) -> None:
    """Writes tensors and plain values so that a crash leaves the old file or the new one.

    Args:
        values: What ``torch.load(weights_only=True)`` allows.
        path: The file; its folder is made.

    Raises:
        OSError: The file cannot be written.
    """
    # Into memory first: where a disk is full PyTorch raises a RuntimeError that does not say so.
    content = dump(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def export(
    best: BestWeights, params: Mapping[str, Any], path: Path, about: Mapping[str, Any] | None = None
) -> None:
    """Writes a trial's best weights for use outside a study; see ``Engine.export``."""
    values = {
        "state_dict": best.weights,
        "params": plain(params),
        "epoch": best.epoch,
        "metrics": best.metrics,
    }
    write({**values, **(about or {})}, path)


def read(source: Path | bytes) -> dict[str, Any]:
    """Reads what ``write`` wrote, or what ``dump`` has returned, onto the CPU.

    Raises:
        CheckpointError: There is no such file, or it holds something else.
    """
    name = named(source)
    try:
        file = io.BytesIO(source if isinstance(source, bytes) else source.read_bytes())
    except OSError as error:
        raise CheckpointError(f"there is no checkpoint {name}: {error.strerror}") from error
    # PyTorch reads other files by older rules, and complains in many ways about most of them.
    if not zipfile.is_zipfile(file):
        raise CheckpointError(f"{name} is damaged, or no checkpoint")
    file.seek(0)
    try:
        values = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, ValueError, EOFError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{name} is damaged, or no checkpoint: {reason}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{name} is no checkpoint of a trial")
    return values


def named(source: Path | bytes) -> str:
    """Returns how messages call a checkpoint."""
    return "the kept state" if isinstance(source, bytes) else str(source)


def resume(lane: Lane, load: Callable[[Checkpoint], T]) -> T | None:
    """Resumes a lane from its checkpoint.

    A checkpoint that cannot be used is logged; the lane starts from epoch 0 then.

    Args:
        lane: The lane.
        load: Loads the checkpoint, or raises ``CheckpointError``.

    Returns:
        What ``load`` returns; None without a checkpoint that can be used.
    """
    if lane.checkpoint is None:
        if lane.epoch:
            logger.warning("lane %d has no checkpoint; it starts from epoch 0", lane.key)
        return None
    try:
        saved = Checkpoint.load(lane.checkpoint)
        if (saved.seed, saved.params) != (lane.seed, plain(lane.params.asdict())):
            raise CheckpointError(f"{named(lane.checkpoint)} belongs to another trial")
        return load(saved)
    except CheckpointError as error:
        logger.warning("lane %d starts from epoch 0: %s", lane.key, error)
        return None


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values with NumPy's numbers, which ``torch.load`` mistrusts, made Python's."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}


def to_cpu(state: Any) -> Any:
    """Returns a copy of a state dict whose tensors are on the CPU and are its own."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: to_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_cpu(value) for value in state)
    return state
