"""A convolutional network of your own, tuned on handwritten digits.

Run it with::

    python own_cnn.py

It trains 12 trials, several of them as one model, and keeps them in ``hpo.db`` in the current
folder. Raise the number of trials and run it again: the study continues. The data are bundled.
"""

from __future__ import annotations

from torch import nn

import hpo


class DigitsCnn(hpo.Task):
    """8x8 images of handwritten digits, and a small CNN with a searched depth."""

    metric = "val_accuracy"

    def data(self) -> hpo.Data:
        """Returns the images, split into training, validation and test data."""
        return hpo.data.digits(image=True)  # or hpo.Data.split(x, y, stratify=True) of your own

    def model(self, params: hpo.Params) -> nn.Module:
        """Builds the network of a trial. It trains nothing: the engine does."""
        layers: list[nn.Module] = []
        n_in, n_out, size = 1, params.width, 8
        for _ in range(params.depth):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            n_in, n_out, size = n_out, 2 * n_out, size // 2
        head = [nn.Flatten(), nn.Dropout(params.dropout), nn.Linear(n_in * size * size, 10)]
        return nn.Sequential(*layers, *head)


SPEC = hpo.StudySpec(
    name="own-cnn",
    task=f"{__file__}:DigitsCnn",
    budget={"trials": 12, "epochs": 9},
    space={
        "depth": hpo.Int(1, 3),
        "width": 8,
        "weight_decay": hpo.Float(1e-6, 1e-2, log=True),
        "dropout": hpo.Float(0.0, 0.5),
        # The engine applies these: the task need not read them.
        "learning_rate": hpo.Float(1e-3, 1e-1, log=True),
        "batch_size": 64,
        "optimizer": "adam",
    },
)


def main() -> None:
    """Runs the study and shows its best trial."""
    study = hpo.run(SPEC)
    best = study.best
    print(f"best of {len(study.trials)} trials: {best.number}, {best.params}")
    print(f"validation accuracy {best.value:.3f}, test accuracy {best.test['test_accuracy']:.3f}")
    print(f"model {best.model}")


if __name__ == "__main__":  # Workers import this file, too.
    main()
