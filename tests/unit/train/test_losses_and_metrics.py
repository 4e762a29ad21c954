from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as theirs
from torch import nn

from hpo.errors import TaskError
from hpo.train import losses, metrics


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, n: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.randint(n, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_the_default_for_classes(smoothing: float) -> None:
    outputs, targets = random(30, 4), classes(30)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(outputs, targets)
    assert torch.equal(losses.default_loss(outputs, targets, smoothing), expected)
    # A sequence of classes: PyTorch wants the classes in the second place.
    outputs, targets = random(30, 5, 4), classes(30, 5)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(outputs.movedim(-1, 1), targets)
    torch.testing.assert_close(losses.default_loss(outputs, targets, smoothing), expected)


@pytest.mark.parametrize(("given", "wanted"), [((9,), (9,)), ((9, 1), (9,)), ((9, 2), (9, 2))])
def test_mse_is_the_default_for_numbers(given: tuple[int], wanted: tuple[int]) -> None:
    outputs, targets = random(*given), random(*wanted, seed=2)
    expected = nn.MSELoss()(outputs.reshape(wanted), targets)
    assert torch.equal(losses.default_loss(outputs, targets), expected)
    squares = np.square(outputs.reshape(wanted).numpy() - targets.numpy())
    assert float(expected) == pytest.approx(squares.mean())


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(TaskError, match=r"shape \[9\]; found \[9, 2\]"):
        losses.mse(random(9, 2), random(9))
    with pytest.raises(TaskError, match=r"one output a class.*\[9, C\]; found \[9\]"):
        losses.cross_entropy(random(9), classes(9))
    with pytest.raises(TaskError, match="found"):
        metrics.r2(random(9, 9), random(9))


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.f1, metrics.auroc])
@pytest.mark.parametrize("shape", [(9, 1), (9,)])
def test_the_largest_of_a_single_output_says_nothing(metric: Any, shape: tuple[int]) -> None:
    with pytest.raises(TaskError, match=r"needs one output a class; found outputs of shape \[9"):
        metric(random(*shape), classes(9, n=2))


@pytest.mark.parametrize("n", [2, 4])
def test_classification_metrics_as_in_scikit_learn(n: int) -> None:
    outputs, targets = random(200, n).round(decimals=1), classes(200, n=n)
    predicted, probabilities = outputs.argmax(-1), outputs.double().softmax(-1)
    assert float(metrics.accuracy(outputs, targets)) == pytest.approx(
        theirs.accuracy_score(targets, predicted)
    )
    assert float(metrics.f1(outputs, targets)) == pytest.approx(
        theirs.f1_score(targets, predicted, average="macro")
    )
    scores = probabilities[:, 1] if n == 2 else probabilities
    assert float(metrics.auroc(outputs.double(), targets)) == pytest.approx(
        theirs.roc_auc_score(targets, scores, multi_class="ovr")
    )


def test_auroc_of_one_class_is_unknown() -> None:
    assert torch.isnan(metrics.auroc(random(9, 2), torch.zeros(9, dtype=torch.long)))


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_regression_metrics_as_in_scikit_learn(shape: tuple[int, ...]) -> None:
    outputs, targets = random(*shape), random(*shape, seed=2)
    found = {
        name: float(value) for name, value in metrics.default_metrics(outputs, targets).items()
    }
    assert found == pytest.approx(
        {
            "mse": theirs.mean_squared_error(targets, outputs),
            "mae": theirs.mean_absolute_error(targets, outputs),
            "r2": theirs.r2_score(targets, outputs),
        },
        rel=1e-4,
    )


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_constant_targets(error: float) -> None:
    targets = torch.full((9,), 3.0)
    outputs = targets + error
    assert float(metrics.r2(outputs, targets)) == theirs.r2_score(targets, outputs)


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    metrics.check_metric("val_loss", ["val_loss"])
    with pytest.raises(TaskError, match=r"did you mean val_loss\?") as caught:
        metrics.check_metric("val_los", ["train_loss", "val_loss"])
    assert caught.value.hint == "it produces train_loss, val_loss"
