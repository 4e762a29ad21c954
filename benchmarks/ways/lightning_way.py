"""The small CNN as a Lightning module, with hpo's callback."""

from __future__ import annotations

import warnings

import lightning
import optuna
import torch
from small_cnn import BATCH_SIZE, EPOCHS, network, tensors
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hpo
import hpo.lightning

warnings.filterwarnings("ignore", ".*does not have many workers.*")
x, y, x_val, y_val = tensors()


class SmallCNN(lightning.LightningModule):
    """The network, trained by SGD."""

    def __init__(self, width: int, learning_rate: float, momentum: float) -> None:
        super().__init__()
        self.network = network(width)
        self.learning_rate, self.momentum = learning_rate, momentum

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Returns the loss of a batch."""
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """Logs the accuracy of a batch."""
        is_right = self.network(batch[0]).argmax(1) == batch[1]
        self.log("val_accuracy", is_right.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer."""
        return torch.optim.SGD(self.parameters(), self.learning_rate, self.momentum)


def objective(trial: optuna.Trial) -> float:
    """Trains the network of a trial."""
    run = hpo.Run(trial)
    torch.manual_seed(run.seed)
    model = SmallCNN(
        trial.suggest_categorical("width", [16]),
        trial.suggest_float("learning_rate", 0.05, 0.05),
        trial.suggest_float("momentum", 0.9, 0.9),
    )
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[hpo.lightning.Callback(run, monitor="val_accuracy")],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    train = DataLoader(TensorDataset(x, y), BATCH_SIZE, shuffle=True)
    trainer.fit(model, train, DataLoader(TensorDataset(x_val, y_val), len(x_val)))
    return run.best


def bare(width: int, learning_rate: float, momentum: float) -> None:
    """Trains the same module by Lightning without hpo."""
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    train = DataLoader(TensorDataset(x, y), BATCH_SIZE, shuffle=True)
    val = DataLoader(TensorDataset(x_val, y_val), len(x_val))
    trainer.fit(SmallCNN(width, learning_rate, momentum), train, val)
