"""Epoch scores: what metrics mean for a trial, whether it has diverged, whether it is its best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo.train.engine import Failure
from hpo.train.objective.metrics import check_metric


def is_spent(params: Mapping[str, Any], epoch: int, best_epoch: int) -> bool:
    """Returns whether a trial was not better for as many epochs as its ``patience`` says.

    Source: Prechelt 1998, Early stopping - but when?, criterion UP.

    Args:
        params: With defaults filled in; without patience, or with 0, no trial is.
        epoch: Epochs completed.
        best_epoch: Epochs completed when it was best.
    """
    patience = params.get("patience", 0)
    return bool(patience) and epoch - best_epoch >= patience


@dataclass(frozen=True)
class Score:
    """The score by which trials are compared.

    Attributes:
        metric: As it is reported: ``val_accuracy``.
        direction: ``maximize`` or ``minimize``.
        others: Further metrics of the study.
        keeps: Whether it says which epoch is best; else the engine around it does.
    """

    metric: str
    direction: str
    others: tuple[str, ...] = ()
    keeps: bool = True

    @classmethod
    def of(cls, metrics: str | tuple[str, ...], direction: str) -> Score:
        """Returns the score of one metric, or of several, of which the first counts."""
        first, *others = (metrics,) if isinstance(metrics, str) else metrics
        return cls(first, direction, tuple(others))

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics of the study."""
        return (self.metric, *self.others)

    def judge(self, metrics: Mapping[str, float], epoch: int) -> Failure | None:
        """Returns the failure of a trial that has diverged, or None.

        Raises:
            TaskError: The metric is not among those of an epoch that did not diverge.
        """
        for name in ("train_loss", "val_loss", *self.metrics):
            if name in metrics and not math.isfinite(metrics[name]):
                return Failure("nan", f"{name} is {metrics[name]} after epoch {epoch}")
        for name in self.metrics:
            check_metric(name, metrics)
        return None

    def is_better(self, metrics: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Returns whether an epoch is better than the best before; anything is better than none.

        Of two that are equal the one with less validation loss is: on few samples a metric such as
        the accuracy says the same of many epochs, and the first of them has learnt the least.
        """
        if not self.keeps:
            return False
        sign = 1.0 if self.direction == "maximize" else -1.0
        gain = sign * (metrics[self.metric] - best.get(self.metric, math.nan))
        if gain == 0:
            return metrics.get("val_loss", math.nan) < best.get("val_loss", math.nan)
        # Not `gain > 0`: the first epoch is compared with NaN.
        return not gain < 0
