"""Ready-made tasks, by the names that studies use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TASKS: Final[Mapping[str, str]] = {
    "linear-regression": "hpo.tasks.regression:LinearRegression",
    "diabetes": "hpo.tasks.regression:Diabetes",
    "california-housing": "hpo.tasks.regression:CaliforniaHousing",
    "breast-cancer": "hpo.tasks.classification:BreastCancer",
    "wine": "hpo.tasks.classification:Wine",
    "iris": "hpo.tasks.classification:Iris",
    "two-classes": "hpo.tasks.classification:TwoClasses",
    "digits": "hpo.tasks.digits:Digits",
    "digits-mlp": "hpo.tasks.digits:DigitsMLP",
    "digits-cnn": "hpo.tasks.digits:DigitsCNN",
    "digits-rows": "hpo.tasks.digits:DigitsRows",
    "mnist": "hpo.tasks.images:MNIST",
    "fashion-mnist": "hpo.tasks.images:FashionMNIST",
    "cifar10": "hpo.tasks.images:CIFAR10",
    "images": "hpo.tasks.images:ImageFolder",
    "tabular": "hpo.tasks.tabular:Tabular",
}
