"""The solo engine on data sets, against a loop with PyTorch's own loader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import hpo
from hpo.errors import TaskError
from hpo.spec.study_spec import ValidationSpec
from hpo.train.checks.task_preview import metric_names, one_batch
from hpo.train.data.loading.loaded_splits import LoadedSplits
from hpo.train.loop.solo import SoloEngine
from hpo.train.recipe.random_streams import derive, sample_order
from hpo.train.task import Task
from tests.kits.toy import Blobs, lane


class Pixels(Dataset[Any]):
    """Small images of bytes whose class is how bright they are."""

    def __init__(self, n: int = 60) -> None:
        generator = torch.Generator().manual_seed(1)
        self.targets = [i % 3 for i in range(n)]
        noise = torch.randint(0, 60, (n, 1, 4, 4), generator=generator)
        self.x = (noise + 90 * torch.tensor(self.targets).view(-1, 1, 1, 1)).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index], self.targets[index]


class Brightness(Task):
    def model(self, params: hpo.Params) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def splits_of(data: hpo.Data, seed: int = 3) -> LoadedSplits:
    (splits,) = data.folds(ValidationSpec())
    assert isinstance(splits, LoadedSplits)
    return splits.seeded_by(seed)


def curve(engine: SoloEngine, n: int = 3, **values: Any) -> list[dict[str, float]]:
    assert engine.add(lane(**values)) is None
    reports = [engine.advance()[0] for _ in range(n)]
    assert [report.failure for report in reports] == [None] * n
    return [dict(report.metrics) for report in reports]


def plain_loop(train: Any, val: Any, n_epochs: int) -> list[dict[str, float]]:
    torch.manual_seed(derive(7, "weights"))
    model = Brightness().model(hpo.Params({}))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    found = []
    for epoch in range(n_epochs):
        total = 0.0
        order = sample_order(len(train), 3, epoch).tolist()
        for x, y in DataLoader(Subset(train, order), batch_size=8):
            loss = functional.cross_entropy(model(x.float() / 255), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        with torch.no_grad():
            outputs = model(val.x.float() / 255)
        y = torch.tensor(val.targets)
        found.append(
            {
                "train_loss": total / len(train),
                "val_loss": functional.cross_entropy(outputs, y).item(),
                "val_accuracy": (outputs.argmax(1) == y).float().mean().item(),
            }
        )
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_as_in_a_plain_loop(workers: int) -> None:
    train, val = Pixels(60), Pixels(21)
    with torch.random.fork_rng(devices=[]):
        expected = plain_loop(train, val, 3)
    splits = splits_of(hpo.Data.datasets(train, val, workers=workers))
    engine = SoloEngine(Brightness(), splits, "val_accuracy", "maximize")
    found = curve(engine, optimizer="sgd", learning_rate=0.1, batch_size=8, momentum=0.0)
    splits.close()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_trials_of_a_study_see_one_order_and_another_study_another() -> None:
    data = hpo.Data.datasets(Pixels(), workers=0)
    seen = [
        [batch.targets.tolist() for batch in part.batches([sample_order(36, seed, 0).tolist()])]
        for seed in (3, 3, 4)
        for part in [splits_of(data, seed).train]
    ]
    assert seen[0] == seen[1] != seen[2]


def test_samples_in_memory_and_a_data_set_of_them_come_to_the_same() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(90, 2, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    in_memory = hpo.Data.fixed((x[:60], y[:60]), (x[60:], y[60:]))
    loaded = hpo.Data.datasets(
        TensorDataset(x[:60], y[:60]), TensorDataset(x[60:], y[60:]), workers=0
    )
    # With one batch an epoch the order of the samples does not matter.
    found = [
        curve(SoloEngine(Blobs(), splits, "val_accuracy", "maximize"), batch_size="full")
        for data in (in_memory, loaded)
        for splits in data.folds(ValidationSpec())
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_metrics_that_accumulate_are_those_of_the_whole_split() -> None:
    metrics = ("val_accuracy", "val_f1", "val_auroc", "val_log_loss")
    train, val = Pixels(60), Pixels(300)
    (loaded,) = hpo.Data.datasets(train, val, workers=0).folds(ValidationSpec())
    x, y = (val.x.float() / 255).numpy(), val.targets
    (whole,) = hpo.Data.fixed((x[:60], y[:60]), (x, y)).folds(ValidationSpec())
    found = [
        curve(SoloEngine(Brightness(), splits, metrics, "maximize"), 2, batch_size="full")
        for splits in (loaded, whole)
    ]
    for ours, theirs in zip(*found, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert ours.keys() == theirs.keys() >= set(metrics)


def test_each_item_is_read_once_an_epoch() -> None:
    class Read(Pixels):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            read.append(index)
            return super().__getitem__(index)

    read: list[int] = []

    class Own(Brightness):
        def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
            return {"hits": (outputs.argmax(1) == targets).sum()}

    for task in (Brightness(), Own()):
        splits = splits_of(hpo.Data.datasets(Read(30), Read(21), workers=0))
        engine = SoloEngine(task, splits, "val_loss", "minimize")
        assert engine.add(lane(batch_size=8)) is None
        read.clear()
        assert engine.advance()[0].failure is None
        assert sorted(read) == sorted([*range(30), *range(21)])


def test_a_trial_that_resumes_sees_the_batches_that_it_would_have_seen() -> None:
    class Random(Pixels):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            x, y = super().__getitem__(index)
            return x + torch.randint(0, 20, x.shape, dtype=torch.uint8), y

    def engine() -> SoloEngine:
        splits = splits_of(hpo.Data.datasets(Random(), Pixels(21), workers=0))
        return SoloEngine(Brightness(), splits, "val_loss", "minimize")

    whole, half, rest = engine(), engine(), engine()
    expected = curve(whole, 4, batch_size=8)
    curve(half, 2, batch_size=8)
    saved = lane(batch_size=8, epoch_stop=4)
    assert rest.add(replace(saved, epoch=2, checkpoint=half.dump(1))) is None
    assert [dict(rest.advance()[0].metrics) for _ in range(2)] == expected[2:]


class Pair(Dataset[Any]):
    """Two inputs and two targets of each item."""

    def __init__(self, form: str) -> None:
        self.form = form

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        a, b, y = torch.full((2,), index / 40), torch.ones(3), torch.tensor(index / 40)
        if self.form == "dict":
            return {"a": a, "b": b, "label": y}
        return (a, b, y) if self.form == "tuple" else (a, b, {"first": y, "second": index % 2})


class TwoInputs(nn.Module):
    def __init__(self, returns: Any) -> None:
        super().__init__()
        self.first, self.second, self.returns = nn.Linear(2, 1), nn.Linear(3, 2), returns

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.returns(self.first(a).squeeze(1), self.second(b))


class Pairs(Task):
    def model(self, params: hpo.Params) -> nn.Module:
        return TwoInputs(lambda first, second: first + second.sum(1))


class Heads(Task):
    """Two outputs, and what they are compared with, both as dicts."""

    def model(self, params: hpo.Params) -> nn.Module:
        return TwoInputs(lambda first, second: {"first": first, "second": second})

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        first = functional.mse_loss(outputs["first"], targets["first"])
        return first + functional.cross_entropy(outputs["second"], targets["second"])

    def metrics(self, outputs: Any, targets: Any) -> dict[str, Any]:
        return {"error": (outputs["first"] - targets["first"]).abs().mean()}


@pytest.mark.parametrize("form", ["dict", "tuple"])
def test_several_inputs_go_to_the_model_by_name_or_by_place(form: str) -> None:
    splits = splits_of(hpo.Data.datasets(Pair(form), workers=0))
    found = curve(SoloEngine(Pairs(), splits, "val_mse", "minimize"), learning_rate=0.1)
    assert found[-1]["val_mse"] < found[0]["val_mse"]


def test_several_outputs_and_targets_go_to_the_tasks_own_loss_and_metrics() -> None:
    splits = splits_of(hpo.Data.datasets(Pair("heads"), workers=0))
    engine = SoloEngine(Heads(), splits, "val_error", "minimize")
    found = curve(engine, learning_rate=0.1)
    assert found[-1]["val_error"] < found[0]["val_error"]
    assert engine.test(1).keys() == {"test_loss", "test_error"}


def test_several_outputs_without_a_loss_for_them_are_refused() -> None:
    class Lacking(Task):
        model = Heads.model

    splits = splits_of(hpo.Data.datasets(Pair("dict"), workers=0))
    with pytest.raises(TaskError, match="the model returns a dict of first, second") as caught:
        metric_names(Lacking(), splits)
    assert "define loss(outputs, targets) and metrics(outputs, targets)" in str(caught.value.hint)


def test_class_weights_need_targets_that_are_known() -> None:
    class Silent(Pixels):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = self.targets
            del self.targets

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return self.x[index], self.hidden[index]

    splits = splits_of(hpo.Data.datasets(Silent(), classes=3, workers=0))
    failure = SoloEngine(Brightness(), splits, "val_loss", "minimize").add(
        lane(class_weights="balanced")
    )
    assert failure is not None
    assert "needs the targets of all items" in failure.message
    known = splits_of(hpo.Data.datasets(Pixels(), workers=0))
    curve(SoloEngine(Brightness(), known, "val_loss", "minimize"), class_weights="balanced")


def test_what_a_study_of_a_data_set_costs_is_measured() -> None:
    splits = splits_of(hpo.Data.datasets(Pixels(), workers=0))
    cost = one_batch(Brightness(), splits, hpo.Params({"batch_size": 8}))
    assert (cost.n_parameters, cost.steps_per_epoch) == (51, 5)
    assert cost.seconds_per_step > 0


def test_a_task_may_prepare_batches_in_a_way_of_its_own() -> None:
    class Prepared(Brightness):
        def prepare(self, inputs: Any) -> Any:
            assert inputs.dtype == torch.uint8
            return inputs.float() / 255

    found = []
    for task in (Brightness(), Prepared()):
        splits = splits_of(hpo.Data.datasets(Pixels(), workers=0))
        engine = SoloEngine(task, splits, "val_accuracy", "maximize")
        found.append((curve(engine, batch_size=8), engine.test(1)))
    assert found[0] == found[1]
