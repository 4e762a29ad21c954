"""Fine-tuning: a pretrained network, some of whose layers stay as they are, on few new images.

Run it with::

    python fine_tuning.py

It first trains a small CNN on the digits 0 to 4 and saves its weights as ``pretrained.pt``; in
place of these, take weights of your own. Then 8 trials fine-tune it on 100 images of the digits 5
to 9, and are kept in ``hpo.db`` in the current folder. The data are bundled.
"""

from __future__ import annotations

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Subset, TensorDataset

import hpo

WEIGHTS = Path("pretrained.pt").absolute()


def network() -> nn.Sequential:
    """Returns two convolutions, the pretrained part, and a layer for five classes."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(128, 5),
    )


def digits(first: int) -> TensorDataset:
    """Returns five of the ten digits as classes 0 to 4.

    Args:
        first: The smallest digit.
    """
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    chosen = (y >= first) & (y < first + 5)
    images = (x[chosen].float() / 16).view(-1, 1, 8, 8)
    return TensorDataset(images, y[chosen].long() - first)


def pretrain() -> None:
    """Trains the network on the digits 0 to 4, and saves its weights."""
    torch.manual_seed(0)
    images, targets = digits(0).tensors
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.save(model.state_dict(), WEIGHTS)


class FineTuning(hpo.Task):
    """A pretrained network with its first convolutions frozen."""

    metric = "val_accuracy"

    def setup(self) -> None:
        """Loads the weights once in each process."""
        self.weights: dict[str, Tensor] = torch.load(WEIGHTS, weights_only=True)

    def data(self) -> hpo.Data:
        """Returns 100 images to train on, and others for validation and testing."""
        images = digits(5)
        rows = range(len(images))
        parts = (Subset(images, rows[:100]), Subset(images, rows[100:400]))
        return hpo.Data.datasets(*parts, Subset(images, rows[400:]), workers=0)

    def model(self, params: hpo.Params) -> nn.Module:
        """Builds a new network with the given weights; frozen layers are not trained."""
        model = network()
        model.load_state_dict(self.weights)
        # What the classes were is of no use for others.
        model[7] = nn.Linear(128, 5)
        n_layers = {0: 0, 1: 3, 2: 6}[params.n_frozen]
        for layer in list(model)[:n_layers]:
            layer.requires_grad_(False)
        return model


def main() -> None:
    """Runs the study and shows its best trial."""
    if not WEIGHTS.exists():
        pretrain()
    spec = hpo.StudySpec(
        name="fine-tuning",
        task=f"{__file__}:FineTuning",
        budget={"trials": 8, "epochs": 18},
        space={
            "n_frozen": hpo.Categorical([0, 1, 2]),
            "learning_rate": hpo.Float(1e-3, 1e-1, log=True),
            "batch_size": 25,
            "optimizer": "adam",
        },
    )
    best = hpo.run(spec).best
    print(f"best with {best.params['n_frozen']} frozen convolutions")
    print(f"validation accuracy {best.value:.3f}, test accuracy {best.test['test_accuracy']:.3f}")
    assert best.model is not None
    tuned = torch.load(best.model, weights_only=True)["state_dict"]
    pretrained = torch.load(WEIGHTS, weights_only=True)
    for i, name in enumerate(["0.weight", "3.weight"]):
        change = (tuned[name] - pretrained[name]).abs().max()
        print(f"convolution {i + 1} has changed by up to {change:.3f}")


if __name__ == "__main__":  # Workers import this file, too.
    main()
