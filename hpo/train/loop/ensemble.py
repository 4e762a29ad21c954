"""Ensemble: the models of one trial as one, by the mean of their outputs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hpo.train.engine import PartEngine


def measured(engine: PartEngine, keys: Sequence[int]) -> dict[str, float]:
    """Returns ``test_*`` metrics of the models of a trial together.

    Outputs that are no real numbers have no mean; then it is the models' metrics that have one.

    Source: Krogh and Vedelsby 1995, Neural network ensembles, cross validation, and active
    learning.

    Args:
        engine: Trains them.
        keys: The parts of the trial; all of them have the same test samples.

    Returns:
        Nothing without a test split.
    """
    outputs = [found for key in keys if (found := engine.outputs(key)) is not None]
    if len(outputs) < len(keys):
        return {}
    if all(one.is_floating_point() for one in outputs):
        return engine.measure(keys[0], mean_outputs(outputs))
    return means([engine.measure(key, one) for key, one in zip(keys, outputs, strict=True)])


def mean_outputs(outputs: Sequence[Tensor]) -> Tensor:
    """Returns the mean of several models' outputs, each of shape [N, ...]; of classes, of logits.

    A loss that is convex in the outputs, as cross-entropy and the squared error are, is no larger
    than the mean of theirs.
    """
    return torch.stack(list(outputs)).mean(dim=0)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean of each metric over several models."""
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
