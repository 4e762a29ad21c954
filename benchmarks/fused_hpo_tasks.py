"""The problems of ``benchmarks/fused_gpu.py`` as tasks of hpo."""

from __future__ import annotations

from fused_problems import PROBLEMS
from torch import nn

import hpo


class _Shared(hpo.Task):
    """A problem as every contestant has it."""

    problem: str
    metric = "val_accuracy"
    direction = "maximize"

    def data(self) -> hpo.Data:
        """The same samples in the same parts."""
        x, y, x_val, y_val = PROBLEMS[self.problem].data()
        return hpo.Data.fixed((x, y), (x_val, y_val))

    def model(self, params: hpo.Params) -> nn.Module:
        """The same model."""
        return PROBLEMS[self.problem].build(params)


class Digits(_Shared):
    """Digits as features of an MLP."""

    problem = "digits"


class Synthetic(_Shared):
    """Many features of many samples."""

    problem = "synthetic"


class Convolution(_Shared):
    """Digits as images."""

    problem = "cnn"


TASKS = {task.problem: task for task in (Digits, Synthetic, Convolution)}
