"""Placement: the workers of this machine, each with its device, its GPUs and its threads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpo.errors import LaunchError
from hpo.run.host import machine
from hpo.run.host.devices import gpus_of, kind_of
from hpo.run.host.machine import MAX_WORKERS
from hpo.spec.sections import ResourceSpec
from hpo.spec.values.resource_kinds import n_bytes, n_sharing

_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True)
class DevicePlacement:
    """The placement of one worker.

    Attributes:
        device: As PyTorch names it inside the worker: ``cpu``, ``cuda:0``, ``mps``.
        visible: ``CUDA_VISIBLE_DEVICES`` of the worker: it sees its own GPUs and no other. Empty
            for none; None leaves the variable as it is.
        n_threads: Threads of PyTorch's CPU kernels.
    """

    device: str
    visible: str | None = None
    n_threads: int = 1


@dataclass(frozen=True)
class _Limit:
    """How many workers one resource allows.

    Attributes:
        option: The option that changes what a trial needs of it, without dashes.
        needed: What a trial needs, in words.
        here: What this machine has, in words.
        n_fit: Workers that fit.
        possible: The most of it that a trial can have here, as the option takes it.
    """

    option: str
    needed: str
    here: str
    n_fit: int
    possible: str


def plan(
    device: str = "auto", n_workers: int | None = None, resources: ResourceSpec | None = None
) -> tuple[DevicePlacement, ...]:
    """Decides where the workers of this machine train.

    Args:
        device: ``auto`` (all GPUs, else the CPU), ``cpu``, ``cuda``, ``cuda:0,1`` or ``mps``.
        n_workers: How many workers; by default as many as the scarcest resource allows: one a GPU
            or one a core where nothing is known of a trial.
        resources: What a trial needs.

    Raises:
        LaunchError: There is no such device here, or not enough of a resource for one worker, or
            for so many.
    """
    if n_workers is not None and not 1 <= n_workers <= MAX_WORKERS:
        raise LaunchError(f"--workers must be 1 to {MAX_WORKERS:,}; it is {n_workers:,}")
    needs = resources or ResourceSpec()
    kind, gpus = kind_of(device), _gpus(device, needs)
    n_cores = machine.n_cores()
    limits = _limits(needs, device, len(gpus), n_cores)
    _require_room(limits, n_workers)
    n = n_workers or min([_usual_number(kind, gpus, needs, n_cores), *(x.n_fit for x in limits)])
    if gpus:
        n_threads = needs.cpus or max(1, n_cores // n)
        name = "mps" if kind == "mps" else "cuda:0"
        return tuple(
            DevicePlacement(name, _visible(gpus, i, needs) or None, n_threads) for i in range(n)
        )
    # One thread a worker: two multi-threaded PyTorch processes on two cores ran up to 20 times
    # slower than two single-threaded ones.
    visible = "" if needs.gpus == 0 else None
    return (DevicePlacement("cpu", visible, needs.cpus or 1),) * n


def describe(places: tuple[DevicePlacement, ...], resources: ResourceSpec | None = None) -> str:
    """Returns ``cpu``, ``mps`` or ``cuda`` with its GPUs, and what each worker has of them.

    Args:
        places: Of the workers.
        resources: What a trial needs.
    """
    kinds = dict.fromkeys(p.device.partition(":")[0] for p in places)
    seen = [name for p in places if p.visible for name in p.visible.split(",")]
    n_gpus = len(dict.fromkeys(seen))
    shares = str(resources or "")
    each = f" with {shares}{' each' * (len(places) > 1)}" if shares else ""
    return " ".join(kinds) + (f" ({n_gpus} GPUs)" if n_gpus > 1 else "") + each


def _gpus(device: str, needs: ResourceSpec) -> tuple[str, ...]:
    """Returns the GPUs to share out; Apple's only one has no name."""
    kind = kind_of(device)
    if needs.gpus != 0:
        return ("",) if kind == "mps" else gpus_of(device)
    if kind in ("cuda", "mps"):
        raise LaunchError(
            f"--device {device} names a GPU, but gpus = 0 gives a trial none",
            hint="leave out --device, or give a trial one with --gpus 1",
        )
    return ()


def _usual_number(kind: str, gpus: tuple[str, ...], needs: ResourceSpec, n_cores: int) -> int:
    """Returns how many workers are started where no limit is lower."""
    if needs.gpus:
        return MAX_WORKERS
    if gpus:
        return len(gpus)
    return 1 if kind == "mps" else n_cores


def _visible(gpus: tuple[str, ...], index: int, needs: ResourceSpec) -> str:
    """Returns the GPUs of the worker with an index; neighbours begin on different GPUs."""
    n_each = max(1, int(needs.gpus or 1))
    groups = [gpus[i : i + n_each] for i in range(0, len(gpus) - n_each + 1, n_each)]
    return ",".join(groups[index % len(groups)])


def _limits(needs: ResourceSpec, device: str, n_gpus: int, n_cores: int) -> list[_Limit]:
    found = []
    if needs.gpus:
        n_fit = n_gpus * (n_sharing(needs.gpus) or 1) if needs.gpus < 1 else n_gpus // needs.gpus
        within = "" if device == "auto" else f" of --device {device}"
        of_all = f"{n_gpus}{within}" if n_gpus else f"none{within}"
        needed = f"{needs.gpus:g} GPU{'s' * (needs.gpus > 1)}"
        found.append(_Limit("gpus", needed, of_all, int(n_fit), str(n_gpus)))
    if needs.cpus:
        needed = f"{needs.cpus} core{'s' * (needs.cpus > 1)}"
        found.append(_Limit("cpus", needed, str(n_cores), n_cores // needs.cpus, str(n_cores)))
    if needs.memory:
        total = machine.n_memory_bytes()
        n_fit = total // (n_bytes(needs.memory) or total)
        found.append(
            _Limit("memory", f"{needs.memory} of memory", _shown(total), n_fit, _shown(total))
        )
    return found


def _require_room(limits: list[_Limit], n_workers: int | None) -> None:
    """Checks that one worker fits, and as many as were asked for.

    Raises:
        LaunchError: They do not.
    """
    short = [limit for limit in limits if limit.n_fit == 0]
    if short:
        lacking = ", ".join(f"{x.needed} (here: {x.here})" for x in short)
        options = " ".join(f"--{x.option} {x.possible}" for x in short)
        raise LaunchError(
            f"a trial needs more than this machine has: {lacking}",
            hint=f"change [resources] in the study file, or what this machine gives: {options}",
        )
    if n_workers is None or not limits:
        return
    scarce = min(limits, key=lambda limit: limit.n_fit)
    if n_workers > scarce.n_fit:
        fitting = f"{scarce.n_fit} fit{'s' * (scarce.n_fit == 1)} here"
        raise LaunchError(
            f"--workers {n_workers} is too many: {fitting}, since a trial needs {scarce.needed} "
            f"(here: {scarce.here})",
            hint=f"leave out --workers, or give a trial less with --{scarce.option}",
        )


def _shown(size: int) -> str:
    """Returns a size in whole or tenths of GiB, rounded down, so that it is one that fits."""
    if size < _GIB:
        return f"{size // _MIB}MiB"
    return f"{math.floor(size / _GIB * 10) / 10:g}GiB"
