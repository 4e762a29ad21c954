"""Mistakes in a task that are found before any trial is spent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.train.checks.task_preview import metric_names
from hpo.train.data.dataset import Data, Splits
from hpo.train.task import Task
from tests.kits.toy import Blobs, blobs


def line(n: int = 60) -> Splits:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    return Data.split(x, x.sum(1)).splits()


class Line(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Linear(3, 1)


class Across(Line):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()


class Squeezed(Line):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.squeeze(-1) - targets).square().mean()

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"mae": (outputs[:, 0] - targets).abs().mean(), "bias": (outputs - targets).mean()}


class AcrossInMetrics(Line):
    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"mae": (outputs - targets).abs().mean()}


def test_outputs_that_broadcast_with_the_targets_are_refused() -> None:
    message = r"Across\.loss compares outputs of shape \[12, 1\] with .* broadcasts to \[12, 12\]"
    with pytest.raises(TaskError, match=message) as caught:
        metric_names(Across(), line())
    assert caught.value.hint == ("use outputs.squeeze(-1) in loss(), or at the end of the model")
    with pytest.raises(TaskError, match=r"AcrossInMetrics\.metrics compares"):
        metric_names(AcrossInMetrics(), line())


def test_who_squeezes_may_go_on() -> None:
    assert metric_names(Squeezed(), line()) == ("train_loss", "val_loss", "val_mae", "val_bias")
    assert "val_r2" in metric_names(Line(), line())


def test_one_logit_for_two_classes() -> None:
    class Binary(Blobs):
        def model(self, params: Params) -> nn.Module:
            return nn.Linear(2, 1)

        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            logits = outputs.squeeze(-1)
            return functional.binary_cross_entropy_with_logits(logits, targets.float())

    class Measured(Binary):
        def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
            return {"accuracy": ((outputs.squeeze(-1) > 0) == (targets > 0)).float().mean()}

    assert "val_accuracy" in metric_names(Measured(), blobs(n_classes=2))
    with pytest.raises(TaskError, match="accuracy needs one output a class"):
        metric_names(Binary(), blobs(n_classes=2))


def test_a_class_without_an_output() -> None:
    class Few(Blobs):
        def model(self, params: Params) -> nn.Module:
            return nn.Linear(2, 2)

    with pytest.raises(TaskError, match=r"the model returns 2 outputs a sample, .* has 3 classes"):
        metric_names(Few(), blobs())


def test_a_loss_that_is_no_number_from_the_start() -> None:
    class Broken(Blobs):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return outputs.sum() / 0

    with pytest.raises(TaskError, match=r"the loss of the untrained model is (inf|-inf|nan)"):
        metric_names(Broken(), blobs())


def test_a_frozen_model() -> None:
    class Frozen(Blobs):
        def model(self, params: Params) -> nn.Module:
            return super().model(params).requires_grad_(False)

    with pytest.raises(TaskError, match="no parameters to train"):
        metric_names(Frozen(), blobs())


def test_tokens_reach_an_embedding() -> None:
    class Tokens(Task):
        def model(self, params: Params) -> nn.Module:
            return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))

    x = torch.randint(9, (60, 5), generator=torch.Generator().manual_seed(0))
    y = (x.sum(1) > 20).long()
    assert "val_accuracy" in metric_names(Tokens(), Data.split(x, y).splits())
    with pytest.raises(TaskError, match="indices") as caught:
        metric_names(Tokens(), Data.split(x.float(), y).splits())
    assert caught.value.hint is not None
    assert "torch.int64" in caught.value.hint


class Wide(Blobs):
    def model(self, params: Params) -> nn.Module:
        return nn.Linear(2, 5)


def test_more_outputs_than_classes_are_refused_before_training() -> None:
    splits = blobs()
    with pytest.raises(TaskError, match=f"returns 5 outputs a sample.* {splits.n_classes} classes"):
        metric_names(Wide(), splits)
