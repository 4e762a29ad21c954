"""hpo: hyperparameter optimisation for PyTorch.

The public names are loaded when they are first used, so that ``import hpo`` and ``hpo --help``
cost next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo import data as data
    from hpo import lightning as lightning
    from hpo import transformers as transformers
    from hpo.data import Data as Data
    from hpo.errors import HpoError as HpoError
    from hpo.errors import LaunchError as LaunchError
    from hpo.errors import SpecError as SpecError
    from hpo.errors import StoreError as StoreError
    from hpo.errors import TaskError as TaskError
    from hpo.loops.run import Run as Run
    from hpo.loops.script_report import report as report
    from hpo.run.files.prediction import TrainedModel as TrainedModel
    from hpo.run.files.prediction import load_model as load_model
    from hpo.run.host.manager import run as run
    from hpo.run.host.study_handle import Study as Study
    from hpo.run.host.study_handle import open as open
    from hpo.spec.space.params import Params as Params
    from hpo.spec.space.search_space import Categorical as Categorical
    from hpo.spec.space.search_space import Fixed as Fixed
    from hpo.spec.space.search_space import Float as Float
    from hpo.spec.space.search_space import Int as Int
    from hpo.spec.space.search_space import SearchSpace as SearchSpace
    from hpo.spec.study_spec import Budget as Budget
    from hpo.spec.study_spec import StudySpec as StudySpec
    from hpo.train.task import Task as Task

__version__ = "0.1.0"

_DEFINED_IN = {
    "Budget": "hpo.spec.study_spec",
    "Categorical": "hpo.spec.space.search_space",
    "Data": "hpo.data",
    "Fixed": "hpo.spec.space.search_space",
    "Float": "hpo.spec.space.search_space",
    "HpoError": "hpo.errors",
    "Int": "hpo.spec.space.search_space",
    "LaunchError": "hpo.errors",
    "Params": "hpo.spec.space.params",
    "Run": "hpo.loops.run",
    "SearchSpace": "hpo.spec.space.search_space",
    "SpecError": "hpo.errors",
    "StoreError": "hpo.errors",
    "Study": "hpo.run.host.study_handle",
    "StudySpec": "hpo.spec.study_spec",
    "Task": "hpo.train.task",
    "TaskError": "hpo.errors",
    "TrainedModel": "hpo.run.files.prediction",
    "load_model": "hpo.run.files.prediction",
    "open": "hpo.run.host.study_handle",
}
_MODULES = ("data", "report", "run")

# Without `open`: `from hpo import *` must not replace Python's own.
__all__ = [*(name for name in _DEFINED_IN if name != "open"), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"hpo.{name}")
    if name in _DEFINED_IN:
        return getattr(importlib.import_module(_DEFINED_IN[name]), name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__", "open"]
