"""The loading processes: what they read, how they fail, and that none outlives its parent."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import Dataset

from hpo.errors import TaskError
from hpo.train.data.loading.item_loader import ItemLoader
from hpo.train.data.loading.item_source import BatchKey, ItemSource
from hpo.train.user_code_guard import failure_of

CPU = torch.device("cpu")


class Items(Dataset[Any]):
    """Items that draw random numbers; one of them goes wrong."""

    def __init__(self, wrong: str = "", marker: Path | None = None) -> None:
        self.wrong, self.marker = wrong, marker
        self.files = [f"/pictures/{i}.png" for i in range(40)]

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index == 17:
            self._go_wrong()
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([float(index), *drawn]), index % 2

    def _go_wrong(self) -> None:
        if self.wrong == "raise":
            raise OSError("broken data stream")
        if self.wrong == "memory":
            raise MemoryError("no more of it")
        is_first = self.marker is None or not self.marker.exists()
        if self.wrong == "kill" and is_first:
            if self.marker is not None:
                self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def read(
    dataset: Any, workers: int, size: int = 8, epoch: int = 0, seed: int = 1
) -> dict[int, list[float]]:
    """What is read of each item, by its index."""
    loader = ItemLoader(ItemSource({"training": dataset}, seed=seed), workers)
    keys = [BatchKey("training", tuple(range(a, a + size)), epoch) for a in range(0, 40, size)]
    try:
        batches = list(loader.batches(keys, CPU))
    finally:
        loader.close()
        gc.collect()
    return {int(x[0]): x[1:].tolist() for batch in batches for x in batch.inputs}


def test_random_changes_of_an_item_follow_from_seed_epoch_and_index_alone() -> None:
    alone = read(Items(), 0)
    assert read(Items(), 2) == read(Items(), 2, size=4) == alone
    assert len({tuple(drawn) for drawn in alone.values()}) == 40
    assert read(Items(), 0, epoch=1) != alone
    assert read(Items(), 0, seed=2) != alone


def test_reading_in_this_process_leaves_its_generators_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    read(Items(), 0)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_raises_is_named_with_its_file(workers: int) -> None:
    with pytest.raises(TaskError) as caught:
        read(Items("raise"), workers)
    assert caught.value.message == (
        "item 17 of the training data set (/pictures/17.png) cannot be read: "
        "OSError: broken data stream"
    )
    assert "_go_wrong" in str(caught.value)
    assert failure_of(caught.value).reason == "user_code"


def test_memory_that_runs_out_in_a_loading_process_is_told_as_such() -> None:
    with pytest.raises(TaskError) as caught:
        read(Items("memory"), 1)
    assert failure_of(caught.value).reason == "oom"


@pytest.mark.slow
def test_a_process_that_was_killed_is_replaced_and_no_batch_is_lost(tmp_path: Path) -> None:
    assert read(Items("kill", tmp_path / "marker"), 1) == read(Items(), 0)


@pytest.mark.slow
def test_processes_that_are_killed_again_and_again_are_told() -> None:
    with pytest.raises(TaskError, match="killed by signal 9 again and again") as caught:
        read(Items("kill"), 1)
    assert caught.value.hint is not None
    assert "workers" in caught.value.hint
    assert failure_of(caught.value).reason == "oom"


def test_a_pass_that_another_one_has_ended_gives_no_batches_of_it() -> None:
    loader = ItemLoader(ItemSource({"training": Items()}), 0)
    keys = [BatchKey("training", (i,), 0) for i in range(4)]
    first = loader.batches(keys, CPU)
    next(first)
    list(loader.batches(keys, CPU))
    with pytest.raises(RuntimeError, match="another pass"):
        next(first)


ORPHANS = """
import sys, time
from tests.unit.train.data.loading.test_item_loader import CPU, Items
from hpo.train.data.loading.item_loader import ItemLoader
from hpo.train.data.loading.item_source import BatchKey, ItemSource

loader = ItemLoader(ItemSource({"training": Items()}), 1)
batches = loader.batches([BatchKey("training", (i,), 0) for i in range(16)] * 20, CPU)
next(batches)
print("reading", flush=True)
time.sleep(600)
"""


@pytest.fixture
def reader() -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[5]
    process = subprocess.Popen(
        [sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_loading_processes_end_with_a_parent_that_was_killed(
    reader: subprocess.Popen[str],
) -> None:
    children = psutil.Process(reader.pid).children(recursive=True)
    assert children
    reader.kill()
    reader.wait()
    deadline = time.monotonic() + 30
    while any(child.is_running() and child.status() != "zombie" for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_item_is_kept() -> None:
    """Memory stays the same however many items there are."""
    given: list[weakref.ref[torch.Tensor]] = []

    class Counted(Dataset[Any]):
        def __len__(self) -> int:
            return 400

        def __getitem__(self, index: int) -> tuple[Any, int]:
            item = torch.zeros(1000)
            given.append(weakref.ref(item))
            return item, 0

    loader = ItemLoader(ItemSource({"training": Counted()}), 0)
    keys = [BatchKey("training", tuple(range(a, a + 8)), 0) for a in range(0, 400, 8)]
    alive = [sum(ref() is not None for ref in given) for _ in loader.batches(keys, CPU)]
    assert len(given) == 400
    assert max(alive) <= 16
