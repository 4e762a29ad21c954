"""A CNN on a folder of images that are read while it trains, as many as there are.

Run it with::

    python image_folder.py pictures

where ``pictures`` has a folder of images for each class, two at least. Pillow must be installed. It
trains 8 trials and keeps them in ``hpo.db`` in the current folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

import hpo

SIZE = 32


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """The images of a folder as bytes [3, H, W]; torchvision's ImageFolder would do as well."""

    def __init__(self, root: str) -> None:
        self.classes = sorted(path.name for path in Path(root).iterdir() if path.is_dir())
        self.files = sorted(path for name in self.classes for path in Path(root, name).iterdir())
        # hpo splits by these without reading a file.
        self.targets = [self.classes.index(path.parent.name) for path in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            pixels = np.array(image.convert("RGB").resize((SIZE, SIZE)))
        return torch.from_numpy(pixels).permute(2, 0, 1), self.targets[index]


class Pictures(hpo.Task):
    """Small convolutional networks on the images of a folder."""

    metric = "val_accuracy"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def data(self) -> hpo.Data:
        """Returns the images: a part of them is cut off for validation, another for testing."""
        return hpo.Data.datasets(ImageFolder(self.folder), workers=2)

    def model(self, params: hpo.Params) -> nn.Module:
        """Builds the network of a trial. Pixels reach it as numbers from 0 to 1."""
        n_classes = len(ImageFolder(self.folder).classes)
        layers: list[nn.Module] = []
        n_in, n_out = 3, params.width
        for _ in range(params.depth):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            n_in, n_out = n_out, 2 * n_out
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes)]
        return nn.Sequential(*layers, *head)


def main(folder: str) -> None:
    """Runs the study and shows its best trial."""
    spec = hpo.StudySpec(
        name="image-folder",
        task=f"{__file__}:Pictures",
        task_options={"folder": str(Path(folder).absolute())},
        budget={"trials": 8, "epochs": 9},
        space={
            "depth": hpo.Int(1, 3),
            "width": 8,
            # The engine applies these: the task need not read them.
            "learning_rate": hpo.Float(1e-3, 1e-1, log=True),
            "augment_flip": hpo.Float(0.0, 0.5),
            "batch_size": 32,
            "optimizer": "adam",
        },
    )
    best = hpo.run(spec).best
    print(f"validation accuracy {best.value:.3f}, test accuracy {best.test['test_accuracy']:.3f}")


if __name__ == "__main__":  # Workers import this file, too.
    main(sys.argv[1] if len(sys.argv) > 1 else "pictures")
