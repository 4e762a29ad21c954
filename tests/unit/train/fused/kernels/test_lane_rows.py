from __future__ import annotations

from typing import Any

import pytest
import torch

from hpo.train.fused.kernels.flat_params import ParamLayout, own_names
from hpo.train.fused.kernels.lane_rows import LaneRows

SHAPES = {
    "w": (torch.Size([3]), torch.float32),
    "n": (torch.Size([]), torch.int64),
}
CPU = torch.device("cpu")


def rows(n: int) -> LaneRows:
    found = LaneRows(SHAPES, CPU)
    for i in range(n):
        assert found.push({"w": torch.full((3,), i + 1.0), "n": torch.tensor(i + 1)}) == i
    return found


def values(found: LaneRows) -> list[int]:
    assert [row.tolist() for row in found["w"]] == [[n] * 3 for n in found["n"].tolist()]
    return found["n"].tolist()


def test_rows_in_use_stay_together() -> None:
    found = rows(6)
    assert (len(found), values(found)) == (6, [1, 2, 3, 4, 5, 6])
    found.free(1)
    assert values(found) == [1, 6, 3, 4, 5]
    found.free(4)
    assert values(found) == [1, 6, 3, 4]
    for _ in range(4):
        found.free(0)
    assert (len(found), values(found)) == (0, [])


def test_a_new_row_has_nothing_of_the_one_before() -> None:
    found = rows(2)
    found.row(1)["w"].fill_(torch.nan)
    found.free(1)
    found.push({"n": torch.tensor(7)})
    assert found["w"][1].tolist() == [0, 0, 0]
    assert found["n"].tolist() == [1, 7]


def test_it_grows_and_keeps_what_it_holds() -> None:
    found = rows(1)
    assert found.capacity >= 1
    found.reserve(40)
    assert (found.capacity, values(found)) == (40, [1])
    found.reserve(3)
    assert found.capacity == 40
    found.trim()
    assert (found.capacity, values(found)) == (1, [1])
    assert values(rows(33)) == list(range(1, 34))


def test_memory_that_runs_out_half_way_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, zeros = rows(4), torch.zeros
    n_left = 1

    def scarce(*arguments: Any, **named: Any) -> torch.Tensor:
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise torch.OutOfMemoryError("out of memory")
        return zeros(*arguments, **named)

    monkeypatch.setattr(torch, "zeros", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        found.push({"w": torch.full((3,), 5.0), "n": torch.tensor(5)})
    assert values(found) == [1, 2, 3, 4]
    monkeypatch.undo()
    found.push({"w": torch.full((3,), 5.0), "n": torch.tensor(5)})
    assert values(found) == [1, 2, 3, 4, 5]


def test_copies_are_put_back() -> None:
    found = rows(3)
    copies = found.copy(("w",))
    found["w"].zero_()
    found["n"].add_(1)
    found.restore(copies)
    assert found["w"][:, 0].tolist() == [1, 2, 3]
    assert found["n"].tolist() == [2, 3, 4]


def test_a_layout_takes_a_model_to_a_row_and_back() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)
    )
    model[2].bias.requires_grad_(False)
    layout = ParamLayout(model)
    row = layout.flatten(dict(model.named_parameters()))
    back = layout.unflatten(row)
    assert list(back) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight"]
    for name, tensor in back.items():
        assert torch.equal(tensor, model.get_parameter(name))
    assert list(layout.fixed) == [
        "2.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    # Gaps hold zeros, and views are of the rows themselves.
    assert row.count_nonzero() == sum(tensor.count_nonzero() for tensor in back.values())
    stacked = torch.zeros(2, layout.size)
    layout.views(stacked)["1.bias"][1] = 9
    assert layout.unflatten(stacked[1])["1.bias"].tolist() == [9, 9, 9]
    assert stacked[0].count_nonzero() == 0


def test_names_of_tensors_that_stand_in_several_places() -> None:
    layer = torch.nn.Linear(2, 2)
    model = torch.nn.ModuleDict({"a": layer, "b": layer, "c": torch.nn.Linear(2, 2)})
    model["c"].weight = layer.weight
    assert own_names(model) == {
        "a.weight": "a.weight",
        "a.bias": "a.bias",
        "b.weight": "a.weight",
        "b.bias": "a.bias",
        "c.weight": "a.weight",
        "c.bias": "c.bias",
    }
