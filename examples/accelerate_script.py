"""A loop with Accelerate, which reports, pauses and resumes: no callback is needed.

What ``prepare`` returns is restored as it is. Run it with Optuna alone, or with hpo in several
processes::

    python accelerate_script.py
    hpo run --objective accelerate_script.py:objective --direction maximize --trials 8
"""

from __future__ import annotations

import optuna
import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hpo

EPOCHS = 9


def objective(trial: optuna.Trial) -> float:
    """Trains one trial and returns its best validation accuracy."""
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    x, y = load_digits(return_X_y=True)
    parts = train_test_split((x / 16).astype("float32"), y, random_state=0, stratify=y)
    x_train, x_val, y_train, y_val = map(torch.as_tensor, parts)
    # The order of the samples follows from a generator, which is restored, too.
    order = torch.Generator().manual_seed(run.seed)
    loader = DataLoader(TensorDataset(x_train, y_train), 64, shuffle=True, generator=order)

    accelerator = Accelerator(cpu=True)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(
        model.parameters(), lr=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    )
    gamma = trial.suggest_float("gamma", 0.5, 1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    run.restore(model=model, optimizer=optimizer, scheduler=scheduler, order=order)
    for _ in run.epochs(EPOCHS):
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(inputs), targets))
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            is_right = model(x_val).argmax(1) == y_val
        run.report(val_accuracy=is_right.float().mean().item())
    return run.best


if __name__ == "__main__":
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=4)
    print(f"best {study.best_value:.3f} (trial {study.best_trial.number}) {study.best_params}")
