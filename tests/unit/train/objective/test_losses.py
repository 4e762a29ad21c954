"""Losses against those of PyTorch and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import hinge_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.nn import functional

from hpo.errors import TaskError
from hpo.train.objective import losses
from hpo.train.objective.losses import LOSSES, loss_of

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.0])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, n: int = 4, seed: int = 1) -> Tensor:
    return torch.randint(n, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.2, torch.tensor(0.2)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy(smoothing: Any, weights: Tensor | None) -> None:
    outputs, targets = random(30, 4), classes(30)
    theirs = nn.CrossEntropyLoss(weights, label_smoothing=float(smoothing))
    found = losses.cross_entropy(outputs, targets, smoothing, weights)
    torch.testing.assert_close(found, theirs(outputs, targets))
    # A sequence of classes: PyTorch wants the classes in the second place.
    outputs, targets = random(30, 5, 4), classes(30, 5)
    found = losses.cross_entropy(outputs, targets, smoothing, weights)
    torch.testing.assert_close(found, theirs(outputs.movedim(-1, 1), targets))


def test_the_default_is_by_the_kind_of_targets() -> None:
    outputs, targets = random(9, 4), classes(9)
    expected = losses.cross_entropy(outputs, targets, 0.1)
    assert torch.equal(losses.default_loss(outputs, targets, 0.1), expected)
    assert torch.equal(
        losses.default_loss(random(9), random(9, seed=2)), losses.mse(random(9), random(9, seed=2))
    )


@pytest.mark.parametrize(("given", "wanted"), [((9,), (9,)), ((9, 1), (9,)), ((9, 2), (9, 2))])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (losses.mse, nn.MSELoss()),
        (losses.mae, nn.L1Loss()),
        (losses.huber, nn.HuberLoss()),
        (
            lambda o, t: losses.huber(o, t, huber_delta=torch.tensor(0.3)),
            nn.HuberLoss(delta=0.3),
        ),
    ],
)
def test_losses_of_numbers(
    ours: Callable[..., Tensor], theirs: nn.Module, given: tuple[int], wanted: tuple[int]
) -> None:
    outputs, targets = random(*given), random(*wanted, seed=2)
    torch.testing.assert_close(ours(outputs, targets), theirs(outputs.reshape(wanted), targets))


@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_losses_of_one_logit(shape: tuple[int, ...]) -> None:
    outputs, targets = random(*shape), classes(30, n=2)
    flat, floats = outputs.reshape(30), targets.float()
    bce = functional.binary_cross_entropy_with_logits(flat, floats, reduction="none")
    torch.testing.assert_close(losses.bce(outputs, targets), bce.mean())
    expected = hinge_loss(targets, flat)
    assert float(losses.hinge(outputs, targets)) == pytest.approx(expected)
    # Lin et al. 2017, with p of the target.
    likely = (-bce).exp()
    torch.testing.assert_close(losses.focal(outputs, targets), ((1 - likely) ** 2 * bce).mean())
    weighted = nn.BCEWithLogitsLoss(weight=WEIGHTS[targets], reduction="sum")(flat, floats)
    torch.testing.assert_close(
        losses.bce(outputs, targets, WEIGHTS[:2]), weighted / WEIGHTS[targets].sum()
    )


def test_two_logits_are_as_one() -> None:
    outputs, targets = random(30, 2), classes(30, n=2)
    one = outputs[:, 1] - outputs[:, 0]
    for loss in (losses.bce, losses.hinge, losses.focal):
        torch.testing.assert_close(loss(outputs, targets), loss(one, targets))


def test_losses_of_several_classes() -> None:
    outputs, targets = random(30, 4), classes(30)
    own = functional.one_hot(targets, 4).float()
    torch.testing.assert_close(losses.bce(outputs, targets), nn.BCEWithLogitsLoss()(outputs, own))
    expected = hinge_loss(targets, outputs, labels=[0, 1, 2, 3])
    assert float(losses.hinge(outputs, targets)) == pytest.approx(expected)
    each = functional.cross_entropy(outputs, targets, reduction="none")
    for gamma in (0.0, 0.5, 3.0, torch.tensor(1.5)):
        expected = ((1 - (-each).exp()) ** gamma * each).mean()
        torch.testing.assert_close(losses.focal(outputs, targets, gamma), expected)


def test_bce_takes_several_labels_a_sample() -> None:
    outputs, shares = random(9, 3), random(9, 3, seed=2).sigmoid()
    torch.testing.assert_close(losses.bce(outputs, shares), nn.BCEWithLogitsLoss()(outputs, shares))


def test_focal_loss_of_sure_predictions_has_a_gradient() -> None:
    outputs = torch.tensor([[90.0, 0.0], [-90.0, 0.0]], requires_grad=True)
    losses.focal(outputs, torch.tensor([0, 0]), 0.5).backward()
    assert outputs.grad is not None
    torch.testing.assert_close(outputs.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.5]]))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_many_models_at_once(name: str, weights: Tensor | None) -> None:
    """With numbers of each one's own, and equal to one after the other, gradients too."""
    kind = LOSSES[name].kinds[0]
    outputs = random(5, 9, 4) if kind == "classification" else random(5, 9)
    targets = classes(5, 9) if kind == "classification" else random(5, 9, seed=2)
    numbers = {key: torch.rand(5) + 0.1 for key in LOSSES[name].reads}

    def loss(outputs: Tensor, targets: Tensor, numbers: dict[str, Tensor]) -> Tensor:
        return loss_of({"loss": name, **numbers}, kind, weights)(outputs, targets)

    together = vmap(grad_and_value(loss))(outputs, targets, numbers)
    for lane in range(5):
        own = {key: float(values[lane]) for key, values in numbers.items()}
        leaf = outputs[lane].clone().requires_grad_()
        value = loss(leaf, targets[lane], own)  # type: ignore[arg-type]
        value.backward()
        torch.testing.assert_close(together[1][lane], value.detach())
        torch.testing.assert_close(together[0][lane], leaf.grad)


@pytest.mark.parametrize("name", ["bce", "hinge", "focal"])
def test_weighted_losses_are_weighted_means(name: str) -> None:
    outputs, targets = random(30, 4), classes(30)
    loss = loss_of({"loss": name}, "classification", WEIGHTS)
    each = [LOSSES[name].function(outputs[[i]], targets[[i]]) for i in range(30)]
    expected = np.average([float(value) for value in each], weights=WEIGHTS[targets])
    assert float(loss(outputs, targets)) == pytest.approx(expected)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    targets = torch.tensor([0] * 6 + [1] * 3 + [2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets.numpy())
    assert losses.balanced_weights(targets, 3).tolist() == pytest.approx(expected)
    assert float(losses.balanced_weights(targets, 3)[targets].mean()) == pytest.approx(1)
    assert losses.balanced_weights(torch.tensor([0, 2]), 3).tolist() == [1, 0, 1]


def test_a_loss_is_chosen_by_the_params() -> None:
    outputs, targets = random(9, 4), classes(9)
    chosen = loss_of({"loss": "focal", "focal_gamma": 1.0, "depth": 2}, "classification")
    assert torch.equal(chosen(outputs, targets), losses.focal(outputs, targets, 1.0))
    smoothed = loss_of({"label_smoothing": 0.1}, "classification")
    assert torch.equal(smoothed(outputs, targets), losses.cross_entropy(outputs, targets, 0.1))
    assert loss_of({}, "regression") is losses.mse
    # A regression has no classes to weigh.
    assert loss_of({"loss": "mae"}, "regression", WEIGHTS) is losses.mae


def test_an_unfit_loss_is_refused() -> None:
    with pytest.raises(TaskError, match=r"regression must be bce, mse, mae, huber; found 'hinge'"):
        loss_of({"loss": "hinge"}, "regression")
    with pytest.raises(TaskError, match=r"did you mean focal\?"):
        loss_of({"loss": "focl"}, "classification")


def test_shapes_that_would_broadcast_are_refused() -> None:
    for loss in (losses.mse, losses.mae, losses.huber, losses.bce):
        with pytest.raises(TaskError, match=r"shape \[9\]; found \[9, 2\]"):
            loss(random(9, 2), random(9))
    with pytest.raises(TaskError, match=r"one output a class.*\[9, C\]; found \[9\]"):
        losses.cross_entropy(random(9), classes(9))
    for loss in (losses.bce, losses.hinge, losses.focal):
        with pytest.raises(TaskError, match=r"one output a class.*found \[9, 4, 2\]"):
            loss(random(9, 4, 2), classes(9))
