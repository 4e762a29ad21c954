"""A plain Optuna script, as its users write them: the peer of ``benchmarks/fused_cpu.py``.

The model, the data and their split, the space, the sampler and the pruner are those of
``studies/digits_mlp.toml``. It indexes tensors, which is several times as fast as a DataLoader.
"""

from __future__ import annotations

import argparse

import numpy as np
import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


def load() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns training and validation digits: three fifths and one fifth."""
    x, y = load_digits(return_X_y=True)
    x, _, y, _ = train_test_split(x / 16, y, test_size=0.2, stratify=y, random_state=0)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    as_x = [torch.tensor(part.astype(np.float32)) for part in (x, x_val)]
    return as_x[0], torch.tensor(y), as_x[1], torch.tensor(y_val)


def build(depth: int, width: int) -> nn.Module:
    """Returns the multilayer perceptron of the study."""
    layers: list[nn.Module] = []
    n_in = 64
    for _ in range(depth):
        layers += [nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU()]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, 10))


def main() -> None:
    """Runs a share of the trials of a study that other processes may work on too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y, x_val, y_val = load()

    def objective(trial: optuna.Trial) -> float:
        batch_size = trial.suggest_categorical("batch_size", [32, 64, 128, 256])
        width = trial.suggest_categorical("width", [32, 64, 128])
        torch.manual_seed(trial.number)
        model = build(trial.suggest_int("depth", 1, 4), width)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=trial.suggest_float("learning_rate", 1e-4, 1.0, log=True),
            momentum=trial.suggest_float("momentum", 0.0, 0.99),
            weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        )
        best = 0.0
        for epoch in range(1, told.epochs + 1):
            model.train()
            for rows in torch.randperm(len(x)).split(batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                accuracy = float((model(x_val).argmax(1) == y_val).float().mean())
            best = max(best, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    study = optuna.create_study(
        study_name="digits",
        storage=told.storage,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=told.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3),
    )
    study.optimize(objective, n_trials=told.trials)


if __name__ == "__main__":
    main()
