"""Devices: those of this machine that PyTorch can train on."""

from __future__ import annotations

import os

from hpo.errors import LaunchError, did_you_mean

KINDS = ("auto", "cpu", "cuda", "mps")


def kind_of(device: str) -> str:
    """Returns the kind of a device, ``cuda`` for ``cuda:0,1``.

    Raises:
        LaunchError: There is no such kind.
    """
    kind = device.partition(":")[0]
    if kind not in KINDS:
        raise LaunchError(f"unknown device {device!r}{did_you_mean(kind, KINDS)}")
    return kind


def gpus_of(device: str) -> tuple[str, ...]:
    """Returns the GPUs that a device names, as ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        device: ``auto`` (all GPUs), ``cuda`` (all, at least one), ``cuda:0,1`` (these), or a device
            without GPUs.

    Raises:
        LaunchError: A GPU that it names is not here.
    """
    kind, _, indices = device.partition(":")
    if kind not in ("auto", "cuda"):
        return ()
    import torch

    found = torch.cuda.device_count()
    if kind == "auto" and found == 0:
        return ()
    if found == 0:
        raise LaunchError(
            "no CUDA device here: PyTorch sees none",
            hint="use --device cpu, or install a CUDA build",
        )
    # Indices count within what this process may see, as PyTorch's do.
    outer = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in outer.split(",")] if outer else [str(i) for i in range(found)]
    if not indices:
        return tuple(names[:found])
    try:
        chosen = [names[int(index)] for index in indices.split(",")]
    except (ValueError, IndexError):
        raise LaunchError(
            f"no device {device}: this machine has cuda:0 to cuda:{found - 1}"
        ) from None
    return tuple(dict.fromkeys(chosen))
