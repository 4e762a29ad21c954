"""Resources of a trial, from the study file and the command line to a worker's process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import hpo as library
from hpo.cli.main import hpo
from hpo.run.host import machine, prefork
from hpo.store.db.database import Database
from hpo.store.studies import study_records

OBJECTIVE = """
import os
import torch

def objective(trial):
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        trial.set_user_attr(name, os.environ.get(name))
    trial.set_user_attr("pid", os.getpid())
    trial.set_user_attr("threads", torch.get_num_threads())
    return trial.suggest_float("x", 0, 1)
"""
STUDY = """
objective = "train.py:objective"

[budget]
trials = 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    # Tests have threads of their own, so that their process must not be forked.
    monkeypatch.setattr(prefork, "can_fork", lambda device: False)
    (tmp_path / "train.py").write_text(OBJECTIVE)
    return tmp_path


def _machine(monkeypatch: pytest.MonkeyPatch, gpus: int, cores: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(machine, "n_cores", lambda: cores)


def _study(folder: Path, resources: str) -> str:
    (folder / "small.toml").write_text(f"{STUDY}\n[resources]\n{resources}\n")
    return "small.toml"


def _hpo(*words: str) -> Result:
    return CliRunner().invoke(hpo, words)


def _stored(name: str = "small") -> dict[str, object]:
    return study_records.load(Database.connect("sqlite:///hpo.db"), name).spec.resources.to_given()


@pytest.mark.slow
@pytest.mark.parametrize(
    # Lists: the order of a set, and so the name of its test, differs between processes.
    ("gpus", "seen"),
    [("0.5", ["0", "1"]), ("2", ["0,1"]), ("0", [""])],
    ids=str,
)
def test_a_worker_has_the_gpus_and_threads_of_its_trials(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gpus: str, seen: list[str]
) -> None:
    _machine(monkeypatch, gpus=2, cores=12)
    study = library.run(_study(folder, f"gpus = {gpus}\ncpus = 2"))
    attrs = [trial.user_attrs for trial in study.optuna.trials]
    assert {attr["CUDA_VISIBLE_DEVICES"] for attr in attrs} <= set(seen)
    assert {(attr["OMP_NUM_THREADS"], attr["threads"]) for attr in attrs} == {("2", 2)}


def test_a_small_machine_is_refused_before_a_study_is_created(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, gpus=0, cores=2)
    result = _hpo("run", _study(folder, "gpus = 1\ncpus = 4"))
    assert result.exit_code == 5
    assert (
        "a trial needs more than this machine has: 1 GPU (here: none), 4 cores (here: 2)"
        in result.stderr
    )
    assert not (folder / "hpo.db").exists()


@pytest.mark.slow
def test_options_of_a_machine_go_before_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, gpus=0, cores=2)
    file = _study(folder, "gpus = 1\ncpus = 4")
    result = _hpo("run", file, "--gpus", "0", "--cpus", "2", "--memory", "100MB")
    assert result.exit_code == 0, result.output
    assert "1 worker on cpu with no GPU, 2 cores, 100MB" in result.stdout
    # They are this machine's alone: others go by the file.
    assert _stored() == {"gpus": 1, "cpus": 4}
    joined = _hpo("worker", "small", "--allow", "train.py:objective")
    assert joined.exit_code == 5
    assert "1 GPU (here: none), 4 cores (here: 2)" in joined.stderr
    wrong = _hpo("worker", "small", "--gpus", "0.4")
    assert wrong.exit_code == 2
    assert "a share of a GPU must be 1/2, 1/3, ... of it: 0.5 or 0.33" in wrong.stderr


@pytest.mark.slow
def test_a_file_changes_the_resources_of_its_study(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, gpus=0, cores=4)
    first = _hpo("run", _study(folder, "cpus = 4"))
    assert first.exit_code == 0, first.output
    assert "1 worker on cpu with 4 cores" in first.stdout
    # It is done, so nothing trains again.
    again = _hpo("run", _study(folder, "cpus = 2"))
    assert "2 workers on cpu with 2 cores each" in again.stdout
    assert _stored() == {"cpus": 2}
    # By its name it keeps what its file said.
    assert "with 2 cores each" in _hpo("run", "small").stdout
    assert " resources  2 cores a trial" in _hpo("show", "small").stdout
