"""What lanes may have at once: averages, augmentation, precision, recorded steps, batch sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_fused_batches import Plain, lanes_of, shared
from tests.contracts.test_fused_graphs import plain, replayed
from tests.contracts.test_fused_graphs import tapes as tapes
from tests.unit.train.stacks import add, advance, assert_as_alone, fused, sizes_of, solo
from tests.unit.train.tape import Tape
from tests.unit.train.toy import blobs

AVERAGING: list[dict[str, Any]] = [
    {"averaging": "ema", "ema_decay": 0.8},
    {"averaging": "swa", "swa_start": 2},
]


@pytest.mark.parametrize("averaging", AVERAGING, ids=lambda values: values["averaging"])
def test_averages_of_recorded_steps(
    averaging: dict[str, Any], tapes: list[Tape], tmp_path: Path
) -> None:
    lanes, engine = plain(3, **averaging), fused(Plain(), blobs())
    add(engine, lanes)
    reports = advance(engine, 4)
    assert max(replayed(tapes)) > 3
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain(), blobs()), tmp_path)


def test_steps_that_change_the_samples_are_not_recorded(tapes: list[Tape], tmp_path: Path) -> None:
    lanes, engine = plain(3, augment_noise=0.3, mixup=0.4), fused(Plain(), blobs())
    add(engine, lanes)
    reports = advance(engine, 3)
    assert replayed(tapes) == []
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain(), blobs()), tmp_path)


@pytest.mark.parametrize("values", [AVERAGING[0], {"augment_noise": 0.3}])
def test_batch_sizes_stay_apart_where_whole_batches_matter(
    values: dict[str, Any], tmp_path: Path
) -> None:
    lanes = lanes_of(optimizer="adamw", rate=0.004, batches=[16, 32], **values)
    engine = shared(Plain(), blobs())
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [1, 1]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain(), blobs()), tmp_path)
