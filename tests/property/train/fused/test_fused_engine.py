"""Whatever comes and goes, each lane is its trial alone."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.train.engine import EpochReport, Lane
from hpo.train.fused.stack.stacked_epoch import StackedEpoch
from hpo.train.loop.checkpoint import Checkpoint
from hpo.train.task import Task
from tests.kits.stacks import (
    assert_same_metrics,
    assert_same_reports,
    assert_same_state,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.toy import lane

N_EPOCHS = 6


class Small(Task):
    def model(self, params: Params) -> nn.Module:
        return nn.Sequential(
            nn.Linear(2, params.width, bias=False),
            nn.BatchNorm1d(params.width),
            nn.ReLU(),
            nn.Dropout(params.dropout),
            nn.Linear(params.width, 3),
        )


def trial(key: int, **values: object) -> Lane:
    common = {"optimizer": "adamw", "batch_size": 32, "learning_rate": 0.003 * (key + 1)}
    return lane(key + 40, N_EPOCHS, key, **{**common, **values})


# Two signatures; one trial diverges, one is through before the others.
TRIALS = [
    trial(0, width=5),
    trial(1, width=5, dropout=0.5, grad_clip=0.2),
    trial(2, width=5, schedule="cosine", l1=0.01),
    trial(3, width=5, label_smoothing=0.3, weight_decay=0.5),
    replace(trial(4, width=5, dropout=0.1), epoch_stop=2),
    trial(5, width=5, learning_rate=1e30, grad_clip=1.0),
    trial(6, width=6, schedule="step", step_size=2),
    trial(7, width=6, beta1=0.5, dropout=0.2),
]
keys = st.sampled_from(range(len(TRIALS)))


@cache
def alone(key: int) -> list[tuple[EpochReport, Checkpoint]]:
    """What each epoch of a trial comes to in the solo engine, and its state then."""
    engine, found = solo(Small()), []
    engine.add(TRIALS[key])
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(TRIALS[key].epoch_stop):
            found += [(report, saved(engine, key, Path(folder))) for report in engine.advance()]
    return found


class Comings(RuleBasedStateMachine):
    """Lanes join, train, pause, go on in either engine, are forgotten, and run out of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = fused(Small())
        # Epochs completed: of lanes in the engine, and of those in their files.
        self.training: dict[int, int] = {}
        self.filed: dict[int, int] = {}
        self.failed: set[int] = set()

    def path(self, key: int) -> Path:
        return Path(self.folder.name) / f"{key}.pt"

    def stand(self, key: int) -> Lane:
        epoch = self.filed.get(key, 0)
        return replace(TRIALS[key], epoch=epoch, checkpoint=self.path(key) if epoch else None)

    @rule(several=st.sets(keys, min_size=1, max_size=5))
    def join(self, several: set[int]) -> None:
        for key in several - self.training.keys() - self.failed:
            # It wants fewer once memory has run out.
            if len(self.training) < self.engine.capacity:
                assert self.engine.add(self.stand(key)) is None
                self.training[key] = self.filed.get(key, 0)

    @precondition(lambda self: self.training)
    @rule()
    def advance(self) -> None:
        for report in self.engine.advance():
            key = report.key
            was_through = self.training[key] == TRIALS[key].epoch_stop
            self.training[key] += not was_through
            expected = alone(key)[self.training[key] - 1][0]
            if expected.failure is None:
                assert_same_reports([report], [expected])
            else:
                assert report.failure is not None
                assert (report.failure.reason, report.epoch) == ("nan", expected.epoch)
                self.engine.remove(key)
                del self.training[key]
                self.failed.add(key)

    @precondition(lambda self: self.training)
    @rule(n_steps=st.integers(0, 2))
    def advance_without_memory(self, n_steps: int) -> None:
        original, is_over = StackedEpoch.step, False

        def step(epoch: StackedEpoch, i: int) -> Tensor:
            nonlocal is_over
            if i == n_steps and epoch.n_lanes > 3 and not is_over:
                is_over = True
                raise torch.OutOfMemoryError("out of memory")
            return original(epoch, i)

        with patch.object(StackedEpoch, "step", step):
            self.advance()

    @precondition(lambda self: any(self.training.values()))
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([key for key, epoch in self.training.items() if epoch]))
        self.engine.save(key, self.path(key))
        assert_same_state(Checkpoint.load(self.path(key)), alone(key)[self.training[key] - 1][1])
        self.engine.remove(key)
        self.filed[key] = self.training.pop(key)

    @precondition(lambda self: self.training)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.training)))
        self.engine.remove(key)
        del self.training[key]

    @precondition(lambda self: self.goes_on_alone())
    @rule(data=st.data())
    def train_alone(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.goes_on_alone()))
        engine = solo(Small())
        engine.add(self.stand(key))
        self.filed[key] += 1
        assert_same_reports(engine.advance(), [alone(key)[self.filed[key] - 1][0]])
        engine.save(key, self.path(key))

    def goes_on_alone(self) -> list[int]:
        """Paused trials that are not through."""
        paused = self.filed.keys() - self.training.keys()
        return sorted(key for key in paused if self.filed[key] < TRIALS[key].epoch_stop)

    @invariant()
    def lanes_are_where_they_should_be(self) -> None:
        assert self.engine.alone == {}
        assert sum(sizes_of(self.engine)) <= len(self.training)
        for key, epoch in self.training.items():
            assert self.engine.epoch(key) == epoch
            best = alone(key)[epoch - 1][1].best if epoch else None
            found = self.engine.best(key)
            assert found[0] == (best.epoch if best else 0)
            assert_same_metrics(found[1], best.metrics if best else {})

    def teardown(self) -> None:
        try:
            for key, epoch in self.training.items():
                if epoch:
                    found = saved(self.engine, key, Path(self.folder.name))
                    assert_same_state(found, alone(key)[epoch - 1][1])
        finally:
            self.folder.cleanup()


TestComings = pytest.mark.slow(Comings.TestCase)
TestComings.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
