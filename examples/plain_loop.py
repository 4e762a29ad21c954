"""A training loop of one's own that pauses and resumes: three lines of hpo.Run.

As an Optuna objective hpo tunes it; plain Optuna runs it as well::

    python plain_loop.py
    hpo run --objective plain_loop.py:objective --trials 20
"""

from __future__ import annotations

import optuna
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import hpo

EPOCHS = 27


def wine() -> list[Tensor]:
    """Returns features to train on and to validate on, then their classes."""
    x, y = load_wine(return_X_y=True)
    parts = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    scaler = StandardScaler().fit(parts[0])
    features = [torch.tensor(scaler.transform(part), dtype=torch.float32) for part in parts[:2]]
    return [*features, *map(torch.tensor, parts[2:])]


def objective(trial: optuna.Trial) -> float:
    """Trains one model, and returns its lowest validation loss."""
    x, x_val, y, y_val = wine()
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    width = trial.suggest_int("width", 4, 64, log=True)
    model = nn.Sequential(nn.Linear(13, width), nn.ReLU(), nn.Linear(width, 3))
    learning_rate = trial.suggest_float("learning_rate", 1e-3, 1.0, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True)
    optimizer = torch.optim.SGD(
        model.parameters(), learning_rate, momentum=0.9, weight_decay=weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    run.restore(model=model, optimizer=optimizer, schedule=schedule)
    for _ in run.epochs(EPOCHS):
        for rows in torch.split(torch.randperm(len(x)), 16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            outputs = model(x_val)
        hits = (outputs.argmax(1) == y_val).float().mean()
        run.report(val_loss=nn.functional.cross_entropy(outputs, y_val), val_accuracy=hits)
    return run.best


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=8)
    print(f"best {study.best_value:.3f} (trial {study.best_trial.number})")
