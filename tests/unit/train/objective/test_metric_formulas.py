"""Metrics against scikit-learn's."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics as theirs
from torch import Tensor
from torch.func import vmap

from hpo.errors import TaskError
from hpo.train.objective import metric_formulas as formulas
from hpo.train.objective.metrics import STANDARD, measure, metrics_of


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, n: int = 4, seed: int = 1) -> Tensor:
    return torch.randint(n, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [2, 3, 6])
def test_metrics_of_classes_as_in_scikit_learn(n: int, seed: int) -> None:
    # Rounded, so that there are ties.
    outputs, targets = random(200, n, seed=seed).round(decimals=1), classes(200, n=n, seed=seed)
    predicted, probabilities = outputs.argmax(-1), outputs.double().softmax(-1)
    scores = outputs[:, 1] - outputs[:, 0] if n == 2 else probabilities
    expected = {
        "accuracy": theirs.accuracy_score(targets, predicted),
        "balanced_accuracy": theirs.balanced_accuracy_score(targets, predicted),
        "f1": theirs.f1_score(targets, predicted, average="macro"),
        "auroc": theirs.roc_auc_score(targets, scores, multi_class="ovr"),
        "log_loss": theirs.log_loss(targets, probabilities),
    }
    found = measure(metrics_of("classification"), outputs, targets)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        expected, abs=1e-3
    )
    exact = [name for name in expected if name != "auroc" or n == 2]
    assert [float(found[name]) for name in exact] == pytest.approx([expected[n] for n in exact])


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_metrics_of_numbers_as_in_scikit_learn(shape: tuple[int, ...]) -> None:
    outputs, targets = random(*shape), random(*shape, seed=2)
    mse = theirs.mean_squared_error(targets, outputs)
    expected = {
        "mse": mse,
        "rmse": mse**0.5,
        "mae": theirs.mean_absolute_error(targets, outputs),
        "r2": theirs.r2_score(targets, outputs),
    }
    found = measure(metrics_of("regression"), outputs, targets)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("name", STANDARD)
def test_metrics_of_many_models_at_once(name: str) -> None:
    is_regression = STANDARD[name].kind == "regression"
    outputs = random(5, 40) if is_regression else random(5, 40, 3)
    targets = random(40, seed=2) if is_regression else classes(40, n=3)
    together = vmap(STANDARD[name].function, in_dims=(0, None))(outputs, targets)
    alone = [STANDARD[name].function(each, targets) for each in outputs]
    torch.testing.assert_close(together, torch.stack(alone))


def test_classes_that_are_absent_are_left_out() -> None:
    targets = torch.tensor([0, 1, 2])
    assert formulas.auroc(torch.eye(4)[:3], targets) == 1
    assert formulas.balanced_accuracy(torch.eye(3), torch.tensor([0, 1, 1])) == 0.75
    assert formulas.f1(torch.eye(4)[:3], targets) == 1


def test_auroc_of_many_classes_is_that_of_few() -> None:
    """Both ways of counting give the same, and so do lanes at once."""
    outputs, targets = random(60, 40).round(decimals=1), torch.arange(60) % 37
    many = formulas.auroc(outputs, targets)
    often = formulas.auroc(outputs.repeat(6, 1), targets.repeat(6))
    assert float(many) == pytest.approx(float(often), abs=1e-6)
    lanes = torch.func.vmap(formulas.auroc, in_dims=(0, None))(outputs.expand(3, -1, -1), targets)
    assert lanes.tolist() == [float(many)] * 3


def test_auroc_of_one_class_is_unknown() -> None:
    assert torch.isnan(formulas.auroc(random(9, 2), torch.zeros(9, dtype=torch.long)))
    assert torch.isnan(formulas.auroc(random(9, 4), torch.ones(9, dtype=torch.long)))


def test_outputs_that_are_no_numbers_have_no_rank() -> None:
    outputs = random(9, 4)
    outputs[3, 2] = torch.nan
    assert torch.isnan(formulas.auroc(outputs, classes(9)))


@pytest.mark.parametrize("name", STANDARD)
def test_of_no_samples_nothing_is_known(name: str) -> None:
    if STANDARD[name].kind == "classification":
        assert torch.isnan(STANDARD[name].function(random(0, 3), classes(0)))
    else:
        assert torch.isnan(STANDARD[name].function(random(0), random(0)))


def test_auroc_of_sequences_is_that_of_their_elements() -> None:
    outputs, targets = random(20, 7, 4), classes(20, 7)
    flat = formulas.auroc(outputs.flatten(0, 1), targets.flatten())
    assert torch.equal(formulas.auroc(outputs, targets), flat)


def test_auroc_of_sure_predictions() -> None:
    """Probabilities of 1 throughout in single precision, yet in the right order."""
    outputs = torch.tensor([[0.0, 40.0], [0.0, 41.0], [0.0, 42.0]])
    assert formulas.auroc(outputs, torch.tensor([0, 0, 1])) == 1


@pytest.mark.parametrize("name", metrics_of("classification"))
@pytest.mark.parametrize("shape", [(9, 1), (9,)])
def test_the_largest_of_a_single_output_says_nothing(name: str, shape: tuple[int]) -> None:
    with pytest.raises(TaskError, match=r"needs one output a class; found outputs of shape \[9"):
        STANDARD[name].function(random(*shape), classes(9, n=2))


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_constant_targets(error: float) -> None:
    targets = torch.full((9,), 3.0)
    outputs = targets + error
    assert float(formulas.r2(outputs, targets)) == theirs.r2_score(targets, outputs)


def test_shapes_that_would_broadcast_are_refused() -> None:
    for name in metrics_of("regression"):
        with pytest.raises(TaskError, match="found"):
            STANDARD[name].function(random(9, 9), random(9))
