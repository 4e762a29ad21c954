"""Image classification tasks: three data sets that are downloaded, and a folder of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from hpo.errors import TaskError
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int
from hpo.tasks import task_options
from hpo.tasks.ready_tasks import ReadyMade
from hpo.tasks.tables.table_files import wrong
from hpo.train.data import downloaded_datasets
from hpo.train.data.dataset import Data
from hpo.train.data.image_folders import image_folder
from hpo.train.task import Task

_LARGEST: Final = 4_096


class _Images(ReadyMade):
    """Images of one size, by default for a convolutional network."""

    n_outputs = 10
    defaults: ClassVar[Mapping[str, Any]] = {"model": "cnn"}
    space: ClassVar[Mapping[str, Any]] = {
        "optimizer": Fixed("adam"),
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "batch_size": Categorical([64, 128, 256]),
        "weight_decay": Float(1e-6, 1e-2, log=True),
        "depth": Int(2, 4),
        "width": Categorical([16, 32]),
        "dropout": Float(0.0, 0.5),
    }
    metric = "val_accuracy"
    direction = "maximize"


class MNIST(_Images):
    """70,000 handwritten digits of 28x28 pixels. Downloaded once."""

    in_shape = (1, 28, 28)

    def data(self) -> Data:
        """Returns the data set."""
        return downloaded_datasets.mnist()


class FashionMNIST(_Images):
    """70,000 pieces of clothing of 28x28 pixels. Downloaded once."""

    in_shape = (1, 28, 28)

    def data(self) -> Data:
        """Returns the data set."""
        return downloaded_datasets.fashion_mnist()


class CIFAR10(_Images):
    """60,000 photographs of 32x32 pixels. Downloaded once."""

    in_shape = (3, 32, 32)

    def data(self) -> Data:
        """Returns the data set."""
        return downloaded_datasets.cifar10()


class ImageFolder(_Images):
    """A folder of images, with one subfolder for each class.

    Args:
        data: The folder.
        size: Height and width in pixels to which all images are resized.
        grayscale: Whether images are converted to grayscale.

    Raises:
        SpecError: There is no such folder, or it holds no images.
    """

    path_options: ClassVar[tuple[str, ...]] = ("data",)

    def __init__(self, *, data: str, size: int = 32, grayscale: bool = False) -> None:
        task_options.require_path(data)
        task_options.require(
            size=task_options.count(size, 1, _LARGEST), grayscale=task_options.flag(grayscale)
        )
        try:
            self._data = image_folder(data, size=size, grayscale=grayscale)
        except TaskError as error:
            raise wrong("data", str(error)) from error
        self.in_shape = (1 if grayscale else 3, size, size)
        self.n_outputs = len(self._data.classes)

    def export_state(self) -> Mapping[str, Any]:
        """Returns what rebuilds the task without its data, for a model's file."""
        return {"in_shape": list(self.in_shape), "n_outputs": self.n_outputs}

    @classmethod
    def from_export(cls, options: Mapping[str, Any], state: Mapping[str, Any]) -> Task:
        """Returns the task that predicts without the folder of images."""
        task = cls.__new__(cls)
        task.in_shape, task.n_outputs = tuple(state["in_shape"]), state["n_outputs"]
        return task

    def data(self) -> Data:
        """Returns the data set."""
        return self._data
