"""Metrics of torchmetrics, against those of scikit-learn and SciPy."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from sklearn import metrics as theirs
from torch import Tensor
from torch.nn import functional

from hpo.train.objective.torch_metrics import CLASSES, NUMBERS


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [2, 7])
def test_metrics_of_classes(n: int) -> None:
    outputs, targets = random(300, n), torch.arange(300) % n
    predicted, probabilities = outputs.argmax(-1), outputs.double().softmax(-1)
    one_hot = functional.one_hot(targets)
    scores = probabilities[:, 1] if n == 2 else probabilities
    truth = targets if n == 2 else one_hot
    top5 = theirs.top_k_accuracy_score(targets, outputs, k=5) if n > 5 else 1.0
    expected = {
        "top5_accuracy": top5,
        "precision": theirs.precision_score(targets, predicted, average="macro"),
        "recall": theirs.recall_score(targets, predicted, average="macro"),
        "mcc": theirs.matthews_corrcoef(targets, predicted),
        "cohen_kappa": theirs.cohen_kappa_score(targets, predicted),
        "average_precision": theirs.average_precision_score(truth, scores, average="macro"),
        "perplexity": functional.cross_entropy(outputs, targets).exp().item(),
    }
    found = {name: float(CLASSES[name](outputs, targets)) for name in expected}
    assert found == pytest.approx(expected, rel=1e-4)


def test_calibration_error_by_hand() -> None:
    """All are sure by 0.75 of class 0, and half of them are of it."""
    outputs = torch.tensor([[3.0, 1.0]]).log().repeat(8, 1)
    assert float(CLASSES["calibration_error"](outputs, torch.arange(8) % 2)) == pytest.approx(0.25)


def test_metrics_of_numbers() -> None:
    outputs, targets = random(60), random(60, seed=1)
    expected = {
        "mape": theirs.mean_absolute_percentage_error(targets, outputs),
        "smape": (2 * (outputs - targets).abs() / (outputs.abs() + targets.abs())).mean().item(),
        "explained_variance": theirs.explained_variance_score(targets, outputs),
        "pearson": scipy.stats.pearsonr(outputs, targets).statistic,
        "spearman": scipy.stats.spearmanr(outputs, targets).statistic,
    }
    assert set(expected) == set(NUMBERS)
    found = {name: float(NUMBERS[name](outputs[:, None], targets)) for name in expected}
    assert found == pytest.approx(expected, rel=1e-4)


def test_several_columns_are_averaged() -> None:
    outputs, targets = random(60, 3), random(60, 3, seed=1)
    for name in ("explained_variance", "pearson", "spearman"):
        each = [float(NUMBERS[name](outputs[:, i], targets[:, i])) for i in range(3)]
        found = float(NUMBERS[name](outputs, targets))
        assert found == pytest.approx(sum(each) / 3, abs=1e-5)


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS])
def test_outputs_that_are_no_numbers_give_no_number(name: str) -> None:
    if name in CLASSES:
        outputs, targets = random(20, 3), torch.arange(20) % 3
    else:
        outputs, targets = random(20), random(20, seed=1)
    outputs[4] = torch.nan
    assert torch.isnan({**CLASSES, **NUMBERS}[name](outputs, targets))


def test_sequences_count_by_their_elements() -> None:
    outputs, targets = random(20, 5, 4), (torch.arange(100) % 4).view(20, 5)
    for name, metric in CLASSES.items():
        flat = metric(outputs.flatten(0, 1), targets.flatten())
        assert torch.equal(metric(outputs, targets), flat), name
