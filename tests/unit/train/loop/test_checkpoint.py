from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.train.loop import checkpoint
from hpo.train.loop.checkpoint import BestWeights, Checkpoint, CheckpointError, Last


def example(**changes: Any) -> Checkpoint:
    values: dict[str, Any] = {
        "seed": 3,
        "params": {"learning_rate": 0.1, "batch_size": "full", "nesterov": True, "depth": 2},
        "epoch": 5,
        "horizon": 27,
        "model": {"weight": torch.arange(6.0)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
        "best": BestWeights(4, {"val_accuracy": 0.5}, {"weight": torch.ones(2)}),
        "last": Last({"val_accuracy": 0.25}, 0.1, 2.0, 50.0),
    }
    return Checkpoint(**{**values, **changes})


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "trial.pt"
    example().save(path)
    found = Checkpoint.load(path)
    assert torch.equal(found.model["weight"], torch.arange(6.0))
    assert torch.equal(found.best.weights["weight"], torch.ones(2))
    assert (found.params, found.last, found.horizon) == (example().params, example().last, 27)
    example(last=None).save(path)
    assert Checkpoint.load(path).last is None


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trial.pt"
    example().save(path)

    def full(values: Any, file: Any) -> None:
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        example(epoch=6).save(path)
    assert Checkpoint.load(path).epoch == 5
    assert list(tmp_path.iterdir()) == [path]


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a checkpoint ran code",))


def test_reading_runs_no_code(tmp_path: Path) -> None:
    torch.save({"format": 1, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(tmp_path / "trap.pt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 99}, "no checkpoint of this version"),
        ({"state_dict": {}}, "no checkpoint of this version"),
        ({"format": 1, "epoch": 3}, "no checkpoint of a trial"),
        (
            {"format": 1, "best": {"epoch": 0, "metrics": {}, "weights": {}}, "last": None},
            "no checkpoint of a trial",
        ),
        ([1, 2], "no checkpoint of a trial"),
    ],
)
def test_foreign_files(values: Any, message: str, tmp_path: Path) -> None:
    torch.save(values, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(tmp_path / "file.pt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        Checkpoint.load(tmp_path / "trial.pt")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        Checkpoint.load(tmp_path)


def test_numpy_numbers_can_be_read_again(tmp_path: Path) -> None:
    values = checkpoint.plain({"a": np.float64(0.5), "b": np.int64(3), "c": "full"})
    assert [type(value) for value in values.values()] == [float, int, str]
    checkpoint.write(values, tmp_path / "file.pt")
    assert checkpoint.read(tmp_path / "file.pt") == {"a": 0.5, "b": 3, "c": "full"}


def test_copies_are_their_own() -> None:
    weight = torch.zeros(3)
    copy = checkpoint.to_cpu({"a": [weight], "b": (weight, 1)})
    weight += 1
    assert copy["a"][0].tolist() == [0, 0, 0]
    assert copy["b"][0].tolist() == [0, 0, 0]
