"""Data for tasks: ``hpo.Data`` for one's own, and ready-made data sets."""

from __future__ import annotations

from hpo.train.data import Data as Data
from hpo.train.data import Part as Part
from hpo.train.data import Splits as Splits
from hpo.train.datasets import breast_cancer as breast_cancer
from hpo.train.datasets import diabetes as diabetes
from hpo.train.datasets import digits as digits
from hpo.train.datasets import iris as iris
from hpo.train.datasets import wine as wine
from hpo.train.folders import image_folder as image_folder
from hpo.train.remote import california_housing as california_housing
from hpo.train.remote import cifar10 as cifar10
from hpo.train.remote import fashion_mnist as fashion_mnist
from hpo.train.remote import mnist as mnist
from hpo.train.synthetic import line as line
from hpo.train.synthetic import two_classes as two_classes

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
