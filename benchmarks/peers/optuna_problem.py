"""A plain Optuna script, as its users write them: a peer of ``benchmarks/fused_gpu.py``.

The data lie on the device and are indexed there, which is several times as fast as a DataLoader.
"""

from __future__ import annotations

import argparse

import optuna
import torch
from fused_problems import PROBLEMS, suggest
from torch import nn


def main() -> None:
    """Runs a share of the trials of a study that other processes may work on too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    told = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem = PROBLEMS[told.problem]
    x, y, x_val, y_val = (part.to(told.device) for part in problem.data())

    def objective(trial: optuna.Trial) -> float:
        point = suggest(problem, trial)
        torch.manual_seed(trial.number)
        model = problem.build(point).to(told.device)
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=point["learning_rate"],
            momentum=point["momentum"],
            weight_decay=point["weight_decay"],
        )
        best = 0.0
        for epoch in range(1, told.epochs + 1):
            model.train()
            for rows in torch.randperm(len(x), device=told.device).split(point["batch_size"]):
                if len(rows) == 1:
                    continue
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
        study_name="problem",
        storage=told.storage,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=told.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3),
    )
    study.optimize(objective, n_trials=told.trials)


if __name__ == "__main__":
    main()
