"""Scripts for Lightning and Transformers that know nothing of hpo, on data that they make."""

from __future__ import annotations

LIGHTNING = """
import lightning as L
import optuna
import torch
from optuna_integration import PyTorchLightningPruningCallback
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, width, learning_rate):
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch, _):
        x, y = batch
        return nn.functional.cross_entropy(self.model(x), y)

    def validation_step(self, batch, _):
        x, y = batch
        self.log("val_acc", (self.model(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)


class Digits(L.LightningDataModule):
    def setup(self, stage):
        x, y = load_digits(return_X_y=True)
        data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
        split = torch.Generator().manual_seed(0)
        self.train, self.val = torch.utils.data.random_split(data, [1297, 500], split)

    def train_dataloader(self):
        return DataLoader(self.train, 64, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, 500)


def objective(trial: optuna.Trial) -> float:
    width = trial.suggest_int("width", 8, 64, log=True)
    model = Net(width, trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True))
    trainer = L.Trainer(
        max_epochs=5,
        logger=True,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
        callbacks=[PyTorchLightningPruningCallback(trial, monitor="val_acc")],
    )
    trainer.logger.log_hyperparams(trial.params)
    trainer.fit(model, datamodule=Digits())
    return trainer.callback_metrics["val_acc"].item()


if __name__ == "__main__":
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
    study.optimize(objective, n_trials=100, timeout=600)
"""

TRANSFORMERS = """
import sys

import optuna
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

ids = torch.randint(5, 50, (96, 8), generator=torch.Generator().manual_seed(0))
rows = [{"input_ids": x, "labels": (x[0] > 27).long()} for x in ids]
config = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=8,
)


def metrics(prediction):
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def trainer_of(**arguments):
    return Trainer(
        model_init=lambda: BertForSequenceClassification(config),
        args=TrainingArguments(
            "out", num_train_epochs=2, eval_strategy="epoch", save_strategy="no",
            report_to="none", use_cpu=True, disable_tqdm=True,
            per_device_train_batch_size=16, **arguments,
        ),
        train_dataset=rows[:64], eval_dataset=rows[64:], compute_metrics=metrics,
    )


def space(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)}


def objective(trial: optuna.Trial) -> float:
    trainer = trainer_of(**space(trial))
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]


if __name__ == "__main__":
    for name in sys.argv[2:]:
        best = trainer_of().hyperparameter_search(
            hp_space=space, compute_objective=lambda metrics: metrics["eval_accuracy"],
            direction="maximize", backend="optuna", n_trials=3,
            storage=sys.argv[1], study_name=name, load_if_exists=True,
        )
        print("best", best.objective)
"""
