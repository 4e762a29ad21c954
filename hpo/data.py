"""Data for tasks: ``hpo.Data`` for the user's own data, and ready-made data sets."""

from __future__ import annotations

from hpo.train.data.dataset import Data as Data
from hpo.train.data.dataset import Part as Part
from hpo.train.data.dataset import Splits as Splits
from hpo.train.data.downloaded_datasets import california_housing as california_housing
from hpo.train.data.downloaded_datasets import cifar10 as cifar10
from hpo.train.data.downloaded_datasets import fashion_mnist as fashion_mnist
from hpo.train.data.downloaded_datasets import mnist as mnist
from hpo.train.data.image_folders import image_folder as image_folder
from hpo.train.data.sklearn_datasets import breast_cancer as breast_cancer
from hpo.train.data.sklearn_datasets import diabetes as diabetes
from hpo.train.data.sklearn_datasets import digits as digits
from hpo.train.data.sklearn_datasets import iris as iris
from hpo.train.data.sklearn_datasets import wine as wine
from hpo.train.data.synthetic import line as line
from hpo.train.data.synthetic import two_classes as two_classes

__all__ = [
    "Data",
    "Part",
    "Splits",
    "breast_cancer",
    "california_housing",
    "cifar10",
    "diabetes",
    "digits",
    "fashion_mnist",
    "image_folder",
    "iris",
    "line",
    "mnist",
    "two_classes",
    "wine",
]
