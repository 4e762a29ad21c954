"""Averages of weights and early stopping, in both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpo.spec.space.params import Params
from hpo.train.engine import EpochReport
from hpo.train.recipe.random_streams import derive
from tests.contracts.train.fused.test_fused_hyperparameters import Rich
from tests.kits.stacks import (
    ABSOLUTE,
    RELATIVE,
    add,
    advance,
    assert_as_alone,
    assert_same_reports,
    assert_same_tensors,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.toy import blobs, lane

ENGINES = {"solo": solo, "fused": fused}
N_EPOCHS = 5
AVERAGING: dict[str, dict[str, Any]] = {
    "ema": {"averaging": "ema", "ema_decay": 0.8},
    "swa": {"averaging": "swa", "swa_start": 3},
}


def averaged_by_pytorch(values: dict[str, Any], seed: int) -> nn.Module:
    """The loop that anybody would write with PyTorch's own averages."""
    part, is_ema = blobs().train, values["averaging"] == "ema"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        model = Rich().model(Params({"dropout": 0.0}))
    rule = get_ema_multi_avg_fn(values["ema_decay"]) if is_ema else None
    average = AveragedModel(model, multi_avg_fn=rule, use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(N_EPOCHS):
        generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
        for batch in torch.randperm(len(part), generator=generator).split(16):
            optimizer.zero_grad()
            functional.cross_entropy(model(part.x[batch]), part.y[batch]).backward()
            optimizer.step()
            if is_ema:
                average.update_parameters(model)
        if not is_ema and epoch + 1 >= values["swa_start"]:
            average.update_parameters(model)
    return average.module


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("values", AVERAGING.values(), ids=AVERAGING.keys())
def test_averages_are_those_of_pytorch(
    values: dict[str, Any], make: Callable[..., Any], tmp_path: Path
) -> None:
    engine = make(Rich())
    mine = lane(seed=5, key=9, batch_size=16, dropout=0.0, learning_rate=0.1, **values)
    other = lane(seed=6, key=1, batch_size=16, dropout=0.5, **AVERAGING["ema"])
    add(engine, [mine] if make is solo else [other, mine])
    report = advance(engine, N_EPOCHS)[9][-1]
    expected = averaged_by_pytorch(values, 5)
    found = saved(engine, 9, tmp_path).average
    for name, tensor in expected.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor, rtol=RELATIVE, atol=ABSOLUTE)
    with torch.no_grad():
        outputs = expected.eval()(blobs().val.x)
    loss = float(functional.cross_entropy(outputs, blobs().val.y))
    assert report.metrics["val_loss"] == pytest.approx(loss, rel=1e-3)


def test_a_lane_is_its_trial_alone(tmp_path: Path) -> None:
    engine = fused(Rich())
    values: list[dict[str, Any]] = [{"averaging": "ema", "ema_decay": d} for d in (0.5, 0.99)]
    values += [{"averaging": "swa", "swa_start": s} for s in (1, 3, 9)]
    lanes = [
        lane(seed=i, key=i, batch_size=16, dropout=0.2, learning_rate=0.1, **own)
        for i, own in enumerate(values)
    ]
    add(engine, [*lanes, lane(key=9, batch_size=16, dropout=0.2)])
    reports = advance(engine, N_EPOCHS)
    # Who is worth what its weights are carries no average.
    assert (sizes_of(engine), engine.alone) == ([5, 1], {})
    assert_as_alone(engine, lanes, reports, lambda: solo(Rich()), tmp_path)
    for one in lanes:
        alone = solo(Rich())
        add(alone, [one])
        advance(alone, N_EPOCHS)
        states = [saved(each, one.key, tmp_path).average for each in (engine, alone)]
        assert_same_tensors(*states)


@pytest.mark.parametrize("values", AVERAGING.values(), ids=AVERAGING.keys())
def test_checkpoints_keep_averages_from_engine_to_engine(
    values: dict[str, Any], tmp_path: Path
) -> None:
    whole = lane(batch_size=16, dropout=0.2, learning_rate=0.1, **values)
    through = solo(Rich())
    add(through, [whole])
    expected, found, stand = advance(through, 6)[1], list[EpochReport](), whole
    for make, n_epochs in ((solo, 1), (fused, 3), (solo, 2)):
        engine = make(Rich())
        add(engine, [stand])
        found += advance(engine, n_epochs)[1]
        engine.save(1, tmp_path / "trial.pt")
        stand = replace(whole, epoch=len(found), checkpoint=tmp_path / "trial.pt")
    assert_same_reports(found, expected)
    engine.export(1, tmp_path / "model.pt")
    through.export(1, tmp_path / "expected.pt")
    weights = [torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("model", "expected")]
    assert_same_tensors(weights[0]["state_dict"], weights[1]["state_dict"])


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_what_is_exported_is_what_was_measured(make: Callable[..., Any], tmp_path: Path) -> None:
    engine = make(Rich())
    add(engine, [lane(batch_size=16, dropout=0.2, learning_rate=0.3, **AVERAGING["ema"])])
    advance(engine, N_EPOCHS)
    epoch, metrics = engine.best(1)
    engine.export(1, tmp_path / "model.pt")
    model = Rich().model(Params({"dropout": 0.2})).eval()
    model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True)["state_dict"])
    with torch.no_grad():
        outputs = model(blobs().val.x)
    loss = float(functional.cross_entropy(outputs, blobs().val.y))
    assert epoch
    assert metrics["val_loss"] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_patience_ends_a_trial_that_no_longer_gets_better(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    """Also after it was put aside, and its neighbours go on."""
    values = {"learning_rate": 1.0, "batch_size": 16, "dropout": 0.5}
    engine = make(Rich())
    impatient = lane(3, 40, 1, patience=2, **values)
    add(engine, [impatient] if make is solo else [impatient, lane(3, 40, 2, **values)])
    reports = advance(engine, 15)
    mine = reports[1]
    first = next(i for i, report in enumerate(mine) if report.is_spent)
    losses = [report.metrics["val_loss"] for report in mine[: first + 1]]
    best = losses.index(min(losses)) + 1
    assert engine.best(1) == (best, dict(mine[best - 1].metrics))
    assert mine[first].epoch == best + 2 < 15
    # Until then nothing was ever two epochs without a better one.
    for i in range(3, first + 1):
        assert min(losses[i - 2 : i]) < min(losses[: i - 2])
    assert [r.epoch for r in mine[first:]] == [best + 2] * (15 - first)
    if make is fused:
        assert [r.epoch for r in reports[2]] == list(range(1, 16))
        assert not any(r.is_spent for r in reports[2])

    engine.save(1, tmp_path / "trial.pt")
    later = make(Rich())
    add(later, [replace(impatient, epoch=best + 2, checkpoint=tmp_path / "trial.pt")])
    (again,) = advance(later)[1]
    assert (again.epoch, again.is_spent, dict(again.metrics)) == (
        best + 2,
        True,
        dict(mine[-1].metrics),
    )
