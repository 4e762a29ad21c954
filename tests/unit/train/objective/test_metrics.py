"""Metrics by their names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from hpo.errors import TaskError
from hpo.train.objective import metrics
from hpo.train.objective.metrics import METRICS, nearest_metric


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_defaults_are_by_the_kind_of_targets() -> None:
    classes = torch.zeros(9, dtype=torch.long)
    assert list(metrics.default_metrics(random(9, 4), classes)) == ["accuracy"]
    assert list(metrics.default_metrics(random(9), random(9))) == ["mse", "mae", "r2"]


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    metrics.check_metric("val_loss", ["val_loss"])
    with pytest.raises(TaskError, match=r"did you mean val_loss\?") as caught:
        metrics.check_metric("val_los", ["train_loss", "val_loss"])
    assert caught.value.hint == "it produces train_loss, val_loss"


@pytest.mark.parametrize(
    ("metric", "meant"),
    [
        ("val_top_5_accuracy", "val_top5_accuracy"),
        ("val_f1_macro", "val_f1"),
        ("val_AUC", "val_auroc"),
        ("val_kappa", "val_cohen_kappa"),
        ("val_perplexty", "val_perplexity"),
        ("val_accurcy", "val_accuracy"),
    ],
)
def test_other_names_of_metrics_are_translated(metric: str, meant: str) -> None:
    assert nearest_metric(metric, ("val_loss", "val_accuracy")) == f"; did you mean {meant}?"


def test_what_is_meant_is_of_the_kind_of_the_data() -> None:
    assert nearest_metric("val_mapee", ("val_loss", "val_mse")) == "; did you mean val_mape?"
    assert "mape" not in nearest_metric("val_mapee", ("val_loss", "val_accuracy"))


def test_torchmetrics_is_not_imported_for_the_standard_metrics() -> None:
    code = (
        "import sys, torch; from hpo.train.objective.metrics import measure, metrics_of;"
        "measure(metrics_of('classification'), torch.rand(9, 3), torch.zeros(9, dtype=int));"
        "print('torchmetrics' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("name", METRICS)
def test_batch_after_batch_gives_what_the_whole_split_gives(name: str) -> None:
    if METRICS[name].kind == "regression":
        outputs, targets = random(100, 2) + 1e3, random(100, 2, seed=1) + 1e3
    else:
        outputs, targets = random(100, 7), torch.arange(100) % 6
    state = METRICS[name].state()
    for begin in range(0, 100, 32):
        state.update(outputs[begin : begin + 32], targets[begin : begin + 32])
    expected = float(METRICS[name].function(outputs, targets))
    assert float(state.compute()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", METRICS)
def test_without_a_batch_nothing_is_known(name: str) -> None:
    assert torch.isnan(METRICS[name].state().compute())


@pytest.mark.parametrize(
    "name", [name for name, metric in METRICS.items() if metric.sums is not None]
)
def test_sums_of_many_lanes_at_once(name: str) -> None:
    sums = METRICS[name].sums
    assert sums is not None
    is_regression = METRICS[name].kind == "regression"
    outputs = random(5, 40) if is_regression else random(5, 40, 3)
    targets = random(40, seed=2) if is_regression else torch.arange(40) % 3
    together = torch.func.vmap(sums.sums, in_dims=(0, None))(outputs, targets)
    found = torch.func.vmap(sums.value)(together)
    alone = torch.stack([METRICS[name].function(each, targets) for each in outputs])
    torch.testing.assert_close(found.float(), alone)


def test_r2_of_constant_targets_over_batches() -> None:
    state = METRICS["r2"].state()
    for _ in range(3):
        state.update(random(9) + 1e3, torch.full((9,), 1e3 / 3))
    assert state.compute() == 0
