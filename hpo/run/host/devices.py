"""Devices: those of this machine, and the placement of its workers on them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hpo.errors import LaunchError, did_you_mean

KINDS = ("auto", "cpu", "cuda", "mps")
MAX_WORKERS = 1000
"""More processes than that on one machine are a slip of the finger, and would bring it down."""


@dataclass(frozen=True)
class DevicePlacement:
    """The placement of one worker.

    Attributes:
        device: As PyTorch names it inside the worker: ``cpu``, ``cuda:0``, ``mps``.
        visible: ``CUDA_VISIBLE_DEVICES`` of the worker: it sees its own GPU and no other.
        n_threads: Threads of PyTorch's CPU kernels.
    """

    device: str
    visible: str | None = None
    n_threads: int = 1


def plan(device: str = "auto", n_workers: int | None = None) -> tuple[DevicePlacement, ...]:
    """Decides where the workers of this machine train.

    Args:
        device: ``auto`` (all GPUs, else the CPU), ``cpu``, ``cuda``, ``cuda:0,1`` or ``mps``.
        n_workers: How many workers; by default one a GPU, or one a core.

    Raises:
        LaunchError: There is no such device here, or no machine takes so many workers.
    """
    if n_workers is not None and not 1 <= n_workers <= MAX_WORKERS:
        raise LaunchError(f"--workers must be 1 to {MAX_WORKERS:,}; it is {n_workers:,}")
    kind, _, indices = device.partition(":")
    if kind not in KINDS:
        raise LaunchError(f"unknown device {device!r}{did_you_mean(kind, KINDS)}")
    gpus = _gpus(kind, indices, device)
    if gpus:
        n_threads = max(1, n_cores() // (n_workers or len(gpus)))
        chosen = [gpus[i % len(gpus)] for i in range(n_workers or len(gpus))]
        return tuple(DevicePlacement("cuda:0", gpu, n_threads) for gpu in chosen)
    if kind == "mps":
        return (DevicePlacement("mps", n_threads=n_cores()),) * (n_workers or 1)
    # One thread a worker: two multi-threaded PyTorch processes on two cores ran up to 20 times
    # slower than two single-threaded ones.
    return (DevicePlacement("cpu"),) * (n_workers or n_cores())


def describe(places: tuple[DevicePlacement, ...]) -> str:
    """Returns ``cpu``, ``mps`` or ``cuda`` with its GPUs, for the line that people see."""
    kinds = dict.fromkeys(p.device.partition(":")[0] for p in places)
    gpus = dict.fromkeys(p.visible for p in places if p.visible is not None)
    return " ".join(kinds) + (f" ({len(gpus)} GPUs)" if len(gpus) > 1 else "")


def n_cores() -> int:
    """Returns how many cores this process may use (containers and affinity count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus(kind: str, indices: str, device: str) -> list[str]:
    if kind not in ("auto", "cuda"):
        return []
    import torch

    found = torch.cuda.device_count()
    if kind == "auto" and found == 0:
        return []
    if found == 0:
        raise LaunchError(
            "no CUDA device here: PyTorch sees none",
            hint="use --device cpu, or install a CUDA build",
        )
    # Indices count within what this process may see, as PyTorch's do.
    outer = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in outer.split(",")] if outer else [str(i) for i in range(found)]
    if not indices:
        return names[:found]
    try:
        return [names[int(index)] for index in indices.split(",")]
    except (ValueError, IndexError):
        raise LaunchError(
            f"no device {device}: this machine has cuda:0 to cuda:{found - 1}"
        ) from None
