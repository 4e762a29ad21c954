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

__all__ = ["Data", "Part", "Splits", "breast_cancer", "diabetes", "digits", "iris", "wine"]
