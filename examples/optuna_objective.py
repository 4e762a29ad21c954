"""A training loop of your own as a plain Optuna objective, which reports, prunes and keeps a file.

The file knows nothing of hpo. Run it with Optuna alone, or with hpo in several processes::

    python optuna_objective.py
    hpo run --objective optuna_objective.py:objective --trials 12

The weights of each complete trial are an artifact of Optuna's in the folder ``artifacts``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

EPOCHS = 15
STORE = Path("artifacts")


def objective(trial: optuna.Trial) -> float:
    """Trains an MLP on handwritten digits and returns its validation accuracy."""
    torch.manual_seed(trial.number)
    torch.set_num_threads(1)
    learning_rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    width = trial.suggest_int("width", 16, 128, log=True)
    x_train, x_val, y_train, y_val = map(torch.as_tensor, split())

    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.split(torch.randperm(len(x_train)), 64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x_train[rows]), y_train[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x_val).argmax(1) == y_val).float().mean().item()
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    keep(trial, model)
    return accuracy


def split() -> list[Any]:
    """Returns training and validation data: x_train, x_val, y_train, y_val."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    parts: list[Any] = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    return parts


def keep(trial: optuna.Trial, model: nn.Module) -> None:
    """Saves the weights as an artifact of the trial."""
    STORE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        torch.save(model.state_dict(), file)
        optuna.artifacts.upload_artifact(
            artifact_store=optuna.artifacts.FileSystemArtifactStore(STORE),
            file_path=str(file),
            study_or_trial=trial,
        )


if __name__ == "__main__":
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=12)
    print(f"best {study.best_value:.3f} (trial {study.best_trial.number}) {study.best_params}")
