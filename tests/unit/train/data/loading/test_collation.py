"""Items of data sets as batches: what is an input, what is a target."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import default_collate

from hpo.errors import TaskError
from hpo.train.data.loading.collation import batch_of

X, Y = torch.ones(3, 2), torch.tensor([0, 1, 1])


def test_the_last_of_a_tuple_is_the_target() -> None:
    assert batch_of([X, Y]).inputs is X
    several = batch_of([X, X, Y])
    assert isinstance(several.inputs, tuple)
    assert (len(several.inputs), several.n) == (2, 3)
    nested = batch_of([{"image": X, "text": X}, Y])
    assert list(nested.inputs) == ["image", "text"]


@pytest.mark.parametrize("key", ["target", "targets", "label", "labels"])
def test_a_dict_has_its_target_under_a_usual_key(key: str) -> None:
    batch = batch_of({"x": X, key: Y})
    assert list(batch.inputs) == ["x"]
    assert batch.targets.tolist() == [0, 1, 1]
    assert batch_of({"x": X, "answer": Y, "label": X}, "answer").targets.dim() == 1


def test_types_are_those_of_losses_and_bytes_stay_bytes() -> None:
    items = [(torch.zeros(2, dtype=torch.uint8), 0.5, True), (torch.ones(2).byte(), 1.5, False)]
    batch = batch_of(default_collate(items))
    assert [x.dtype for x in batch.inputs] == [torch.uint8, torch.float32]
    assert batch.targets.dtype == torch.int64
    assert batch_of([X, torch.ones(3, 1)]).targets.shape == (3,)


@pytest.mark.parametrize(
    ("collated", "message"),
    [
        (X, "an autoencoder's target is its input: return (x, x)"),
        ({"x": X, "y": Y}, "found only x, y"),
        ({"x": X, "label": Y, "target": Y}, "found several of them"),
        ([X, ["cat", "dog", "cat"]], "the targets of a batch must be tensors; found str"),
        ([{"x": X, "file": ["a", "b", "c"]}, Y], "the inputs 'file' of a batch must be tensors"),
        ([X, 3], "the targets of a batch must be tensors; found int"),
    ],
)
def test_what_is_no_batch_is_told(collated: Any, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        batch_of(collated)
    assert message in caught.value.message


def test_a_key_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(TaskError, match="did you mean answer"):
        batch_of({"x": X, "answer": Y}, "anwser")
