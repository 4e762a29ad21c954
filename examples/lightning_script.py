"""A small CNN on handwritten digits with Lightning, which reports, pauses and resumes.

By hand it trains once; as an Optuna objective it is tuned::

    python lightning_script.py
    hpo run --objective lightning_script.py:objective --direction maximize --trials 12
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import lightning
import optuna
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hpo
import hpo.lightning

EPOCHS = 9
BATCH_SIZE = 64


class DigitsCNN(lightning.LightningModule):
    """Two convolutions over 8x8 images, and a linear layer.

    Args:
        learning_rate: Of SGD.
        momentum: Of SGD.
        width: Channels of the first convolution; the second has twice as many.
    """

    def __init__(self, learning_rate: float, momentum: float, width: int) -> None:
        super().__init__()
        self.learning_rate, self.momentum = learning_rate, momentum
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, 10),
        )

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Returns the loss of a batch."""
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """Logs the accuracy of a batch."""
        is_right = self.layers(batch[0]).argmax(1) == batch[1]
        self.log("val_accuracy", is_right.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer."""
        return torch.optim.SGD(self.parameters(), self.learning_rate, self.momentum)


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Returns loaders of training and validation data."""
    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype("float32").reshape(-1, 1, 8, 8)
    parts = train_test_split(images, y, test_size=0.25, random_state=0, stratify=y)
    x_train, x_val, y_train, y_val = map(torch.as_tensor, parts)
    return (
        DataLoader(TensorDataset(x_train, y_train), BATCH_SIZE, shuffle=True),
        DataLoader(TensorDataset(x_val, y_val), 1000),
    )


def train(run: hpo.Run, learning_rate: float, momentum: float, width: int) -> float:
    """Trains one trial and returns its best validation accuracy."""
    torch.manual_seed(run.seed)
    train_loader, val_loader = loaders()
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[hpo.lightning.Callback(run, monitor="val_accuracy")],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(DigitsCNN(learning_rate, momentum, width), train_loader, val_loader)
    return run.best


def objective(trial: optuna.Trial) -> float:
    """Suggests hyperparameters and trains with them."""
    learning_rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    momentum = trial.suggest_float("momentum", 0.0, 0.99)
    width = trial.suggest_int("width", 4, 16, log=True)
    return train(hpo.Run(trial), learning_rate, momentum, width)


def main() -> None:
    """Reads hyperparameters from the command line and trains with them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--width", type=int, default=8)
    given = parser.parse_args()
    best = train(hpo.Run(), given.learning_rate, given.momentum, given.width)
    print(f"best {best:.3f}")


# Loaders of so little data need no workers.
warnings.filterwarnings("ignore", ".*does not have many workers.*")

if __name__ == "__main__":
    main()
