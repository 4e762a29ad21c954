"""GPUs and their driver, as `hpo doctor` finds them; nvidia-smi is played by a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.report.health import machine_health

H100 = "NVIDIA H100, 81559 MiB, 550.54.15"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that tests write; nothing else is on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return tmp_path / "nvidia-smi"


def write(program: Path, *lines: str) -> None:
    program.write_text("\n".join(("#!/bin/sh", *lines)))
    program.chmod(0o755)


def test_a_gpu_that_the_build_of_pytorch_cannot_use(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(nvidia_smi, f"echo '{H100}'")
    build = {"__version__": "2.13.0+cpu", "cuda": None, "hip": None}
    monkeypatch.setattr(machine_health, "_torch_build", lambda: build)
    check = machine_health.gpu()
    assert check.status == "warning"
    assert check.message == (
        "NVIDIA H100 (81559 MiB, driver 550.54.15); PyTorch 2.13.0+cpu is a build without CUDA"
    )
    assert "--torch-backend auto" in check.advice


def test_a_driver_that_pytorch_does_not_reach(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    write(nvidia_smi, f"echo '{H100}'")
    monkeypatch.setattr(
        machine_health, "_torch_build", lambda: {"__version__": "2.13.0", "cuda": "12.8"}
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check = machine_health.gpu()
    assert check.status == "failed"
    assert "for CUDA 12.8 does not reach it" in check.message
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert machine_health.gpu().status == "ok"


def test_a_driver_that_does_not_fit_its_library(nvidia_smi: Path) -> None:
    write(
        nvidia_smi, "echo 'Failed to initialize NVML: Driver/library version mismatch'", "exit 18"
    )
    check = machine_health.gpu()
    assert check.status == "failed"
    assert "version mismatch" in check.message
    assert "restart this machine" in check.advice


def test_the_build_of_pytorch_is_read_without_loading_it() -> None:
    import torch

    build = machine_health._torch_build()
    assert build["__version__"] == torch.__version__
    assert build["cuda"] == torch.version.cuda
