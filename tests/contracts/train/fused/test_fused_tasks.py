"""Tasks as users write them: fused without a change, and equal to the solo engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from hpo.spec.space.params import Params
from hpo.tasks.models import MODELS, build
from hpo.train.data.arrays import Kind
from hpo.train.data.dataset import Splits
from hpo.train.engine import Lane
from hpo.train.fused.fused_engine import FusedEngine
from hpo.train.objective.metrics import measure, metrics_of
from hpo.train.task import Task
from tests.kits.stacks import add, advance, assert_as_alone, fused, sizes_of, solo
from tests.kits.toy import Blobs, blobs, cut, lane, slopes

Build = Callable[[Params], nn.Module]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(60, *shape, generator=torch.Generator().manual_seed(seed))


def classes(x: Tensor, *shape: int) -> Splits:
    y = torch.arange(60 * int(np.prod(shape))).view(60, *shape) * 7 // 3 % 3
    return Splits(*cut(x, y, 40, 12), "classification", tuple("abc"))


def numbers(x: Tensor, *shape: int) -> Splits:
    return Splits(*cut(x, drawn(*shape, seed=1), 40, 12), "regression")


IMAGES = classes(drawn(2, 8, 8))
STEPS = classes(drawn(5, 4))
TOKENS = classes(torch.arange(360).view(60, 6) * 31 % 11)
POINTS = classes(drawn(2))


class Net(nn.Module):
    """A forward pass written by hand, over parts by name."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(torch.relu(self.norm(x)))


def conv(params: Params) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(params.dropout),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


def residual(params: Params) -> nn.Module:
    blocks = nn.Sequential(Block(4), nn.Sequential(Block(4), nn.Dropout2d(params.dropout)))
    return nn.Sequential(
        nn.Conv2d(2, 4, 1), blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def recurrent(kind: type[nn.GRU] | type[nn.LSTM] | type[nn.RNN], params: Params) -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(self.norm(self.dropout(self.rule(self.embedding(x))[0][:, -1])))

    return Net(
        forward,
        embedding=nn.Embedding(11, 5),
        rule=kind(5, 6, num_layers=2, batch_first=True, bidirectional=kind is nn.GRU),
        dropout=nn.Dropout(params.dropout),
        norm=nn.BatchNorm1d(12 if kind is nn.GRU else 6),
        head=nn.Linear(12 if kind is nn.GRU else 6, 3),
    )


def attention(params: Params) -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = self.into(x)
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(1))

    return Net(
        forward,
        into=nn.Linear(4, 8),
        attention=nn.MultiheadAttention(8, 2, batch_first=True),
        norm=nn.LayerNorm(8),
        head=nn.Linear(8, 3),
    )


def transformer(params: Params) -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True),
        nn.Dropout1d(params.dropout),
        nn.Flatten(),
        nn.Linear(40, 3),
    )


def shared(params: Params) -> nn.Module:
    inner, drop = nn.Linear(6, 6), nn.Dropout(params.dropout)
    steps = [nn.Linear(2, 6), nn.Tanh(), drop, inner, nn.Tanh(), drop, inner, nn.Linear(6, 3)]
    return nn.Sequential(*steps)


def tied(params: Params) -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.head(self.out(torch.tanh(self.into(x))))

    into, out = nn.Linear(2, 2), nn.Linear(2, 2)
    out.weight = into.weight
    return Net(forward, into=into, out=out, head=nn.Linear(2, 3))


def frozen(params: Params) -> nn.Module:
    first = nn.Linear(2, 6).requires_grad_(False)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(6, 3))


def moving_average(params: Params) -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        if self.training:
            # Assigned anew, not changed in place.
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.head(x - self.mean)

    net = Net(forward, head=nn.Linear(2, 3))
    net.register_buffer("mean", torch.zeros(2))
    return net


def fourier(params: Params) -> nn.Module:
    net = Net(lambda self, x: self.head(torch.sin(x @ self.waves)), head=nn.Linear(8, 3))
    # Every trial draws its own, and no state dict has it.
    net.register_buffer("waves", torch.randn(2, 8), persistent=False)
    return net


def normalised(params: Params) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(5, 4, 1),
        nn.InstanceNorm1d(4),
        nn.LeakyReLU(0.1),
        nn.LayerNorm(4),
        nn.Sequential(nn.Flatten(), nn.Sequential(weight_norm(nn.Linear(16, 6)), nn.ELU())),
        nn.Linear(6, 3),
    )


def made_inside(params: Params) -> nn.Module:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.params = params
            self.rate = nn.Parameter(torch.ones(2))
            self.scale = lambda x: x * self.rate
            self.head = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.scale(x))

    return Inside()


CASES: dict[str, tuple[Build, Splits]] = {
    "convolution": (conv, IMAGES),
    "residual blocks": (residual, IMAGES),
    "embedding and GRU": (partial(recurrent, nn.GRU), TOKENS),
    "LSTM": (partial(recurrent, nn.LSTM), TOKENS),
    "RNN": (partial(recurrent, nn.RNN), TOKENS),
    "attention": (attention, STEPS),
    "transformer": (transformer, STEPS),
    "shared layers": (shared, POINTS),
    "tied weights": (tied, POINTS),
    "frozen layer": (frozen, POINTS),
    "moving average": (moving_average, POINTS),
    "fourier": (fourier, POINTS),
    "normalisations": (normalised, STEPS),
    "made inside": (made_inside, POINTS),
    "one number": (lambda params: nn.Linear(2, 1), numbers(drawn(2))),
    "several numbers": (lambda params: nn.Linear(2, 4), numbers(drawn(2), 4)),
    "a class a step": (lambda params: nn.Linear(4, 3), classes(drawn(5, 4), 5)),
}


class Built(Task):
    def __init__(self, build: Build) -> None:
        self._build = build

    def model(self, params: Params) -> nn.Module:
        return self._build(params)


def numpy_position() -> int:
    """Returns how far NumPy's global generator has come."""
    return np.random.get_state(legacy=False)["state"]["pos"]


def three(**values: Any) -> list[Lane]:
    return [
        lane(
            seed=i,
            key=i,
            **{
                "learning_rate": 0.02 * (i + 1),
                "momentum": 0.4 * i,
                "dropout": 0.25 * i,
                "weight_decay": 0.01 * i,
                # Of 40 samples one is left over.
                "batch_size": 13,
                **values,
            },
        )
        for i in range(3)
    ]


def assert_fused(task: Task, splits: Splits, folder: Path, **values: Any) -> FusedEngine:
    engine, lanes = fused(task, splits), three(**values)
    add(engine, lanes)
    reports = advance(engine, 2)
    assert (sizes_of(engine), engine.alone) == ([3], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(task, splits), folder)
    return engine


# vmap runs the kernel of weight_norm lane by lane, and says so.
@pytest.mark.filterwarnings("ignore:There is a performance drop.*_weight_norm")
@pytest.mark.parametrize("case", CASES)
def test_fused_without_a_change(case: str, tmp_path: Path) -> None:
    build, splits = CASES[case]
    assert_fused(Built(build), splits, tmp_path)


@pytest.mark.parametrize("batch_size", [1, 16, 39, 40, 100, "full"])
def test_batches_of_all_sizes(batch_size: int | str, tmp_path: Path) -> None:
    build = lambda params: nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))  # noqa: E731
    assert_fused(Built(build), POINTS, tmp_path, batch_size=batch_size, learning_rate=0.01)


class Measured(Blobs):
    """A loss of its own, and metrics as scikit-learn has them."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        one_hot = functional.one_hot(targets, 3).float()
        return ((outputs.softmax(-1) - one_hot) ** 2).sum(-1).mean()

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        guesses = outputs.argmax(-1)
        return {
            "f1": f1_score(targets.numpy(), guesses.numpy(), average="macro"),
            "hits": (guesses == targets).sum(),
            "margin": outputs.topk(2, dim=-1).values.diff(dim=-1).mean(0),
        }


class Resampled(Blobs):
    """A metric that draws random numbers, of NumPy or of PyTorch."""

    def __init__(self, source: str) -> None:
        self.source = source

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        n = len(targets)
        rows = (
            torch.from_numpy(np.random.permutation(n))
            if self.source == "numpy"
            else (torch.randperm(n))
        )
        return {"share": outputs[rows[: n // 2]].softmax(-1).amax(-1).mean()}


class Kept(Blobs):
    """A metric that keeps a dimension."""

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        hits = (outputs.argmax(-1) == targets).float()
        return {"mean": outputs.mean().unsqueeze(0), "accuracy": hits.mean(0, keepdim=True)}


@pytest.mark.parametrize(
    "task",
    [Measured(), Resampled("numpy"), Resampled("torch"), Kept()],
    ids=lambda task: type(task).__name__,
)
def test_losses_and_metrics_of_a_task(task: Task, tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), numpy_position()
    assert_fused(task, blobs(), tmp_path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == numpy_position()


def test_a_regression_with_metrics_by_default(tmp_path: Path) -> None:
    engine = assert_fused(Built(lambda params: nn.Linear(1, 1)), slopes(), tmp_path)
    assert list(engine.best(0)[1])[2:] == ["val_mse", "val_mae", "val_r2"]


@pytest.mark.parametrize("normalization", ["batch", "layer"])
@pytest.mark.parametrize("family", MODELS)
def test_the_models_of_hpo(family: str, normalization: str, tmp_path: Path) -> None:
    shape = tuple(IMAGES.train.x.shape[1:])
    task = Built(lambda params: build(family, shape, 3, params))
    values = {"width": 8, "depth": 2, "normalization": normalization, "batch_size": 20}
    assert_fused(task, IMAGES, tmp_path, **values)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_metrics_of_hpo(kind: Kind, tmp_path: Path) -> None:
    class All(Built):
        def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
            return measure(metrics_of(kind), outputs, targets)

    splits = POINTS if kind == "classification" else CASES["several numbers"][1]
    n_out = 3 if kind == "classification" else 4
    engine = assert_fused(All(lambda params: nn.Linear(2, n_out)), splits, tmp_path)
    assert len(engine.best(0)[1]) == 2 + len(metrics_of(kind))
