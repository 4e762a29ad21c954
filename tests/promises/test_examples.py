"""The examples run as their first lines say, and find what they are about."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.promises.blocks import ROOT
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

ARTIFACTS = """
import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta

study = optuna.load_study(study_name="optuna_objective", storage="sqlite:///hpo.db")
for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
    (meta,) = get_all_artifact_meta(trial, storage=study._storage)
    download_artifact(
        artifact_store=FileSystemArtifactStore("artifacts"),
        file_path=f"{trial.number}.pt",
        artifact_id=meta.artifact_id,
    )
    print(torch.load(f"{trial.number}.pt")["0.weight"].shape[0] == trial.params["width"])
"""


@pytest.fixture
def folder(installed: Installed) -> Installed:
    """An empty folder but for the examples."""
    for path in (*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*.toml")):
        installed.write(path.name, path.read_text(encoding="utf-8"))
    return installed


def test_a_network_of_ones_own(folder: Installed) -> None:
    printed = folder.bash("python own_cnn.py")
    assert "best of 12 trials" in printed
    found = re.findall(r"(?:validation|test) accuracy (\S+?)[,\n]", printed)
    assert [value for value in map(float, found) if not 0.9 <= value <= 1] == []
    assert len(found) == 2
    (model,) = re.findall(r"^model (\S+)$", printed, re.M)
    assert [str(path) for path in folder.folder.glob("hpo.artifacts/*/models/*.pt")] == [model]
    assert sum(folder.states().values()) == 12


def test_an_objective_under_optuna_and_under_hpo(folder: Installed) -> None:
    (best,) = re.findall(r"^best (\S+) \(trial", folder.bash("python optuna_objective.py"), re.M)
    assert 0.9 <= float(best) <= 1
    printed = folder.hpo("run", "--objective", "optuna_objective.py:objective", "--trials", "6")
    assert "6/6 trials" in printed
    assert "not taken over: n_trials 12" in printed
    n_complete = folder.states()["COMPLETE"]
    assert folder.python(ARTIFACTS).split() == ["True"] * n_complete


def test_a_plain_loop_under_optuna_and_under_hpo(folder: Installed) -> None:
    (best,) = re.findall(r"^best (\S+) \(trial", folder.bash("python plain_loop.py"), re.M)
    assert 0 < float(best) < 0.3
    run = ("run", "--objective", "plain_loop.py:objective", "--trials", "20")
    assert "20/20 trials" in folder.hpo(*run)
    assert json.loads(folder.hpo("best", "plain_loop", "-f", "json"))["value"] < 0.15
    steps = "SELECT count(*) FROM trial_intermediate_values"
    assert folder.query(steps)[0][0] < 0.7 * 20 * 27


def test_a_script_that_nobody_edited(folder: Installed) -> None:
    assert "Epoch 9/9: accuracy 0.9" in folder.bash("python unedited_script.py")
    assert "6/6 trials" in folder.hpo("run", "unedited_script.toml")
    best = json.loads(folder.hpo("best", "unedited-script", "-f", "json"))
    assert best["value"] > 0.9
    printed = "hpo.artifacts/*/trials/*/output.log"
    texts = [path.read_text(encoding="utf-8") for path in folder.folder.glob(printed)]
    lines = [line for text in texts for line in text.splitlines()]
    n_epochs = sum(line.startswith("Epoch") for line in lines)
    # Trials that are paused and resumed repeat nothing.
    assert len(list(folder.folder.glob(printed))) == 6
    steps = "SELECT DISTINCT trial_id, step FROM trial_intermediate_values"
    assert 6 <= n_epochs == len(folder.query(steps)) <= 54


def test_a_folder_of_images(folder: Installed) -> None:
    rng = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder.folder / "pictures" / name).mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder.folder / "pictures" / name / f"{i}.png")
    printed = folder.bash("python image_folder.py pictures")
    (accuracy,) = re.findall(r"validation accuracy (\S+),", printed)
    assert float(accuracy) > 0.9
    assert sum(folder.states().values()) == 8


def test_fine_tuning_leaves_frozen_layers_alone(folder: Installed) -> None:
    printed = folder.bash("python fine_tuning.py")
    (n_frozen,) = map(int, re.findall(r"best with (\d) frozen", printed))
    changes = [float(text) for text in re.findall(r"changed by up to (\S+)", printed)]
    assert [change == 0 for change in changes] == [n_frozen >= 1, n_frozen >= 2]
    (accuracy,) = re.findall(r"validation accuracy (\S+),", printed)
    assert float(accuracy) > 0.8


def test_a_finished_study_is_read(folder: Installed) -> None:
    folder.hpo("run", "digits-mlp", "--trials", "6", "--epochs", "9")
    best = json.loads(folder.hpo("best", "digits-mlp", "-f", "json"))
    printed = folder.bash("python read_a_study.py")
    assert f"best {best['value']:.4f} (trial {best['number']})" in printed
    assert f"  learning_rate = {best['params']['learning_rate']}" in printed
    assert re.findall(r"^  trial (\d)  1:0\.\d+", printed, re.M) == [*"01234"]
    predicted, known = (re.findall(r"\d", line) for line in printed.splitlines()[-2:])
    assert sum(a == b for a, b in zip(predicted, known, strict=True)) >= 8
    assert sum(folder.states().values()) == 6
