"""ModelBatch 0.1.0 with Optuna: a peer of the benchmarks of fused training.

It groups trials of equal parameter shapes and trains each group to the end; it has no pruner, and
its models see the same samples in the same order. Which batch size a group has is ours to say: a
buffer without elements is of that shape, so that groups do not mix them.
"""

from __future__ import annotations

import argparse
from typing import Any

import optuna
import torch
from fused_problems import PROBLEMS, suggest
from modelbatch import ModelBatch, ModelBatchStudy, OptimizerFactory
from torch import nn


class Study(ModelBatchStudy):
    """A study of a problem.

    Args:
        problem: Its name.
        study: Optuna's.
        device: Where models train.
        lanes: Most models of a group.
    """

    def __init__(self, problem: str, study: optuna.Study, device: str, lanes: int) -> None:
        self._problem = PROBLEMS[problem]
        self._device = device
        # Groups wait until they are full, or until there are no more trials to ask for.
        super().__init__(
            study,
            self._build,
            max_models_per_batch=lanes,
            batch_timeout=None,
            min_accumulation_time=1e9,
            periodic_execution_interval=10**9,
        )

    def suggest_parameters(self, trial: optuna.Trial) -> dict[str, Any]:
        """See ``ModelBatchStudy``."""
        return suggest(self._problem, trial)

    def _build(self, point: dict[str, Any]) -> nn.Module:
        model = self._problem.build(point)
        model.register_buffer("batch", torch.empty(0, point["batch_size"]))
        return model.to(self._device)

    def points(self, batch: ModelBatch) -> list[dict[str, Any]]:
        """Returns the params of a group's models: what it hands to objectives is empty."""
        groups = self.trial_batcher.batch_groups.values()
        return next(group.trial_params for group in groups if group.model_batch is batch)


def main() -> None:
    """Runs all trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    told = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y, x_val, y_val = (part.to(told.device) for part in PROBLEMS[told.problem].data())
    study = Study(
        told.problem,
        optuna.create_study(
            study_name="problem",
            storage=told.storage,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=0),
        ),
        told.device,
        told.lanes,
    )

    def objective(batch: ModelBatch, configs: list[dict[str, Any]]) -> list[float]:
        points = study.points(batch)
        settings = [
            {
                "lr": point["learning_rate"],
                "momentum": point["momentum"],
                "weight_decay": point["weight_decay"],
            }
            for point in points
        ]
        factory = OptimizerFactory(torch.optim.SGD, {"lr": 0.1})
        optimizer = factory.create_optimizer(batch, settings)
        best = torch.zeros(len(points), device=told.device)
        for _ in range(told.epochs):
            batch.func_model.train()
            order = torch.randperm(len(x), device=told.device)
            for rows in order.split(points[0]["batch_size"]):
                if len(rows) == 1:
                    continue
                optimizer.zero_grad()
                loss = batch.compute_loss(batch(x[rows]), y[rows], nn.functional.cross_entropy)
                loss.backward()
                optimizer.step()
            batch.func_model.eval()
            with torch.no_grad():
                accuracy = (batch(x_val).argmax(2) == y_val).float().mean(1)
            best = torch.maximum(best, accuracy.nan_to_num(0))
        return best.tolist()

    study.optimize(objective, n_trials=told.trials, show_progress_bar=False)


if __name__ == "__main__":
    main()
