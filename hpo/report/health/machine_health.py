"""Machine health: its GPUs and their driver, its cores, its memory."""

from __future__ import annotations

import importlib.util
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from hpo.errors import HpoError
from hpo.report.health.health_check import HealthCheck, failed, ok, warning
from hpo.run.host import machine
from hpo.run.host.placement import plan

_GIB: Final = 2**30
_LEAST_MEMORY_BYTES: Final = 2 * _GIB
"""Of main memory for a worker. Source: PyTorch with a small model and data takes half of it."""
_LEAST_FILES: Final = 1024
_SMI_TIMEOUT_S: Final = 10.0


def gpu() -> HealthCheck:
    """Looks for GPUs, their driver, and whether PyTorch reaches them."""
    found = _nvidia_gpus()
    if isinstance(found, HealthCheck):
        return found
    if not found:
        if sys.platform == "darwin":
            return ok("gpu", "Apple's (mps), where PyTorch has it; else trials train on the CPU")
        return ok("gpu", "none; trials train on the CPU")
    here = ", ".join(found)
    build = _torch_build()
    if not build.get("cuda") and not build.get("hip"):
        return warning(
            "gpu",
            f"{here}; PyTorch {build.get('__version__', 'unknown')} is a build without CUDA",
            "install one with it: uv pip install torch --torch-backend auto",
        )
    return _reached(here, str(build.get("__version__")), str(build.get("cuda")))


def threads() -> HealthCheck:
    """Says how many workers hpo starts on this machine's cores, and looks at the load."""
    n_cores = machine.n_cores()
    try:
        places = plan("cpu")
    except HpoError as error:
        return failed("threads", error.message, error.hint or "give this machine more cores")
    each = places[0].n_threads
    what = f"{n_cores} core{'s' * (n_cores != 1)}: {len(places)} worker{'s' * (len(places) != 1)}"
    what += f" on the CPU by default, {each} thread{'s' * (each != 1)} each"
    limit = _open_files()
    if limit is not None and limit < _LEAST_FILES:
        return warning("threads", f"{what}; a process may open {limit} files", "ulimit -n 4096")
    return ok("threads", what)


def memory() -> HealthCheck:
    """Compares the main memory with what the workers need, and looks at shared memory."""
    import psutil

    total = machine.n_memory_bytes()
    free = min(total, int(psutil.virtual_memory().available))
    what = f"{total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"
    n_workers = len(plan("cpu"))
    if free < _LEAST_MEMORY_BYTES * min(n_workers, 2) / 2:
        advice = f"start fewer workers (-j {max(1, n_workers // 2)}), or end other programs"
        return warning("memory", f"{what}, for {n_workers} workers", advice)
    shared = _shared_memory_bytes()
    if shared is not None and shared < _GIB // 8:
        return warning(
            "memory",
            f"{what}; /dev/shm has {shared / 2**20:.0f} MiB, too little for DataLoader workers",
            "start the container with --shm-size=2g",
        )
    return ok("memory", what)


def _nvidia_gpus() -> list[str] | HealthCheck:
    """Returns name, memory and driver of each GPU; or a check that says what hides them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        if Path("/proc/driver/nvidia/version").exists():
            advice = "install nvidia-utils of the driver's version; in a container use --gpus all"
            return warning("gpu", "an NVIDIA driver is loaded, but nvidia-smi is missing", advice)
        return []
    query = "--query-gpu=name,memory.total,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failed("gpu", f"nvidia-smi does not answer: {error}", "restart this machine")
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or "no reason").splitlines()[0]
        advice = "install or reload the driver; restart this machine after an update of it"
        return failed("gpu", f"nvidia-smi fails: {said}", advice)
    rows = [line.split(", ") for line in done.stdout.strip().splitlines()]
    return [f"{name} ({size}, driver {driver})" for name, size, driver in rows]


def _reached(here: str, version: str, cuda: str) -> HealthCheck:
    """Returns whether PyTorch reaches the GPUs; it is only loaded where there are some."""
    import torch

    n_seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_seen:
        return ok("gpu", f"{here}; PyTorch {version} (CUDA {cuda}) reaches {n_seen}")
    return failed(
        "gpu",
        f"{here}; PyTorch {version} for CUDA {cuda} does not reach it",
        "unset CUDA_VISIBLE_DEVICES; if that does not help, update the driver, or install a build "
        "for its version of CUDA: uv pip install torch --torch-backend auto",
    )


def _torch_build() -> dict[str, Any]:
    """Returns what PyTorch says of its build, without loading it, which takes seconds."""
    spec = importlib.util.find_spec("torch")
    places = spec.submodule_search_locations if spec is not None else None
    file = Path(next(iter(places or ()), "")) / "version.py"
    return runpy.run_path(str(file)) if file.is_file() else {}


def _open_files() -> int | None:
    """Returns how many files a process may open; None where that has no limit."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _shared_memory_bytes() -> int | None:
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).total if folder.is_dir() else None
