"""Benchmarks in a tiny form: that they run, and that everybody takes part."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def output_of(script: str, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": "140", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.e2e
@pytest.mark.lean
def test_storage() -> None:
    """Its own check holds the rows that everybody wrote against one another."""
    shown = output_of("storage.py", "sqlite", "--rounds", "1", "--scale", "0.02")
    rows = re.findall(r"^\| SQLite \| ([^|]+) \| ([\d.,]+) \| ([\d.]+) \|", shown, re.MULTILINE)
    assert [name for name, *_ in rows] == [
        "Optuna",
        "hpo, an Optuna objective",
        "hpo, 1 trial at a time",
        "hpo, 64 lanes",
        "hpo, 1 trial, short epochs",
        "hpo, 64 lanes, short epochs",
    ]
    assert rows[0][2] == "1.0"
    assert "| trials a second | SQLite |" in shown


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_searches_on_a_gpu_in_a_dry_run() -> None:
    shown = output_of("fused_gpu.py", "--dry-run", "--problems", "cnn")
    rows = re.findall(r"│ ((?:Optuna|hpo)[^│]*?) +│(.*)│", shown)
    assert [name for name, _ in rows] == [
        "Optuna script, 1 process",
        "Optuna script, 2 processes",
        "hpo run, solo, 1 worker",
        "hpo run, fused, 1 worker",
    ]
    # Trials, and epochs of them.
    assert all(re.search(r"│ +4 │ +\d+ │ 0\.", numbers) for _, numbers in rows), shown
    assert "ModelBatch" in shown


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_engines_on_a_gpu_in_a_dry_run() -> None:
    shown = output_of("fused_gpu.py", "--dry-run", "--engines-only")
    for name in ("digits", "synthetic", "cnn"):
        assert re.search(rf"{name}: trials of \d+ epochs an hour, by the engine alone", shown)
    limits = shown.partition("matrix products of its linear layers alone")[2]
    steps = [float(step) for step in re.findall(r"lanes +│ +([\d.]+) │", limits)]
    assert len(steps) == 4
    assert all(step > 0 for step in steps)


@pytest.mark.lean
def test_without_a_gpu_the_benchmark_says_so() -> None:
    script = str(ROOT / "benchmarks/fused_gpu.py")
    command = [sys.executable, script]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "no CUDA device here; --dry-run does everything tiny on the CPU\n"
