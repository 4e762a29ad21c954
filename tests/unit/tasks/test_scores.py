"""Metrics against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from hpo.tasks import scores


@pytest.fixture(params=range(5))
def generator(request: pytest.FixtureRequest) -> torch.Generator:
    return torch.Generator().manual_seed(request.param)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_auroc(generator: torch.Generator, n_classes: int) -> None:
    # Rounded, so that there are ties.
    outputs = torch.randn(60, n_classes, generator=generator).round(decimals=1)
    targets = torch.randint(n_classes, (60,), generator=generator)
    probabilities = outputs.double().softmax(-1).numpy()
    expected = (
        metrics.roc_auc_score(targets, (outputs[:, 1] - outputs[:, 0]).numpy())
        if n_classes == 2
        else metrics.roc_auc_score(targets, probabilities, multi_class="ovr")
    )
    assert float(scores.auroc(outputs, targets)) == pytest.approx(expected, abs=1e-3)


def test_auroc_leaves_out_classes_that_are_absent() -> None:
    outputs = torch.eye(4)[:3]
    assert scores.auroc(outputs, torch.tensor([0, 1, 2])) == 1
    assert math.isnan(scores.auroc(outputs, torch.tensor([1, 1, 1])))


def test_auroc_of_sure_predictions() -> None:
    """Probabilities of 1 throughout in single precision, yet in the right order."""
    outputs = torch.tensor([[0.0, 40.0], [0.0, 41.0], [0.0, 42.0]])
    assert scores.auroc(outputs, torch.tensor([0, 0, 1])) == 1


@pytest.mark.parametrize("n_classes", [2, 4])
def test_balanced_accuracy(generator: torch.Generator, n_classes: int) -> None:
    outputs = torch.randn(50, n_classes, generator=generator)
    targets = torch.randint(n_classes, (50,), generator=generator)
    expected = metrics.balanced_accuracy_score(targets, outputs.argmax(-1))
    assert float(scores.balanced_accuracy(outputs, targets)) == pytest.approx(expected)


def test_balanced_accuracy_leaves_out_classes_that_are_absent() -> None:
    outputs = torch.from_numpy(np.eye(3, dtype=np.float32))
    assert scores.balanced_accuracy(outputs, torch.tensor([0, 1, 1])) == 0.75
