"""Benchmarks in a tiny form: that they run, and that everybody takes part."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import lcbench, lcbench_data, lcbench_simulator

ROOT = Path(__file__).parents[2]


def output_of(script: str, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": "140", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_objectives() -> None:
    shown = output_of("objectives.py", "--seeds", "1", "--trials", "14")
    rows = re.findall(r"^\| (\w+) \| (\w+) \| +(\S+) \|", shown, re.MULTILINE)
    found = {(name, sampler): float(value) for name, sampler, value in rows if name != "objective"}
    assert len(found) == 9
    assert found["quadratic", "auto"] < min(found["quadratic", "tpe"], 0.1)


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_ask() -> None:
    shown = output_of("ask.py", "--trials", "80", "--rounds", "1")
    rows = re.findall(r"│ (\S+) +│ (\S+) +│ ([\d.]+) +│ ([\d.]+) +│", shown)
    methods = [("auto", "freeze-thaw"), ("auto", "bohb"), ("tpe", "asha"), ("random", "asha")]
    assert [row[:2] for row in rows] == methods


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_defaults() -> None:
    shown = output_of("defaults.py", "--trials", "2", "--splits", "1", "--sets", "wine")
    assert re.search(r"│ wine +│ accuracy │( 0\.\d{4} │){3}", shown)
    assert re.search(r"mean rank: hpo [\d.]+, MLP [\d.]+, linear [\d.]+", shown)


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_folds() -> None:
    shown = output_of("folds.py", "--rounds", "1", "--points", "1")
    assert re.search(r"│ +2, 64, 32 │( +[\d.]+ │){4}", shown)


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_a_trial_on_a_folder_of_images() -> None:
    shown = output_of("loaders.py", "--rounds", "1", "--files", "64", "--workers", "0")
    assert re.search(r"│ trial +│( +[\d.]+ │){2}", shown)


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_stacks_on_a_folder_of_images() -> None:
    shown = output_of("loaders_fused.py", "--rounds", "1", "--files", "64", "--workers", "0")
    assert re.search(r"│ stack +│ +8 │( +[\d.]+ │){3}", shown)


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_fused_on_a_cpu() -> None:
    shown = output_of(
        "fused_cpu.py", *("--trials", "2", "--epochs", "1", "--rounds", "1", "--points", "1")
    )
    rows = re.findall(r"│ ((?:Optuna|hpo)[^│]*?) +│(.*)│", shown)
    assert [name for name, _ in rows] == [
        "Optuna script, 1 process",
        "Optuna script, 2 processes",
        "hpo run, solo, 2 workers",
        "hpo run, fused, 2 workers",
    ]
    assert re.search(r"│ +1, 32, 32 │ +[\d.]+ │( +[\d.]+ \([\d.]+\) │){5}", shown)
    assert len(re.findall(r"│ 1, 32, 32: \d+ lanes +│", shown)) == 2


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_real_studies(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    shown = output_of(
        "real_studies.py", "wine", "--seeds", "1", "--trials", "2", "--results", str(results)
    )
    assert re.search(r"│ wine +│ 0 +│( [\d.]+ in \d+ +│){3}", shown)
    assert len(results.read_text().splitlines()) == 3


class MadeUpCurves:
    """Takes the place of the surrogate, whose data are not part of the repository."""

    def __init__(self, folder: Path) -> None:
        self.tasks = self.development = ["1", "2"]
        best = {"batch_size": 64, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.01}
        best |= {"num_layers": 2, "max_units": 256, "max_dropout": 0.1}
        self.known = {task: lcbench_data.Known(90.0, best, 60.0) for task in self.tasks}

    def curves(self, points: Sequence[Mapping[str, Any]], task: str) -> npt.NDArray[np.float64]:
        rates = np.array([point["learning_rate"] for point in points])
        ends = 90 - 10 * np.abs(np.log10(rates) + int(task))
        return ends[:, None] * (1 - np.exp(-np.arange(1, lcbench_data.EPOCHS + 1) / 10))

    def curve(
        self, point: Mapping[str, Any], task: str
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return self.curves([point], task)[0], np.ones(lcbench_data.EPOCHS)


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
def test_lcbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for the model of its curves, which is not part of the repository."""
    monkeypatch.setattr(lcbench, "Surrogate", MadeUpCurves)
    monkeypatch.setattr(lcbench, "BUILD", tmp_path)
    methods = ["auto", "bohb", "optuna: random", "optuna: tpe + median"]
    few = ["--seeds", "1", "--until", str(lcbench_simulator.FRACTIONS[0])]
    results = tmp_path / "results.jsonl"
    arguments = ["lcbench.py", str(tmp_path), *few, "--methods", *methods, "--results", results]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    lcbench.main()
    shown = capsys.readouterr().out
    rows = re.findall(r"│ ([^│]+?) +│ 4 +│ 1 +│ [\d.]+ +│", shown)
    assert sorted(rows) == sorted(methods)
    assert len(results.read_text().splitlines()) == len(methods) * 2


@pytest.mark.e2e
@pytest.mark.lean
@pytest.mark.timeout(400)
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
def test_scale() -> None:
    shown = output_of("scale.py", "sqlite", "--rounds", "1", "--trials", "60", "--no-optuna")
    for what in (
        "worker ready, 60 trials, s",
        "a look, auto, 30 trials, the first, CPU ms",
        "with nothing new, CPU ms",
        "hpo ls, 390 trials, s",
        "hpo show, 60 trials, s",
        "hpo trials, 300 trials, s",
    ):
        assert re.search(rf"│ +{what} +│ +[\d.,]+ +│", shown), what


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
