"""Conformance suite for engines: what every ``Engine`` has to do, as pytest tests.

Subclass it in a test module, and say how an engine is made::

    from hpo.testing.engines import EngineTestCase

    class TestMyEngine(EngineTestCase):
        def make_engine(self, task, splits, metric, direction):
            return MyEngine(task, splits, metric, direction)

``PartEngineTestCase`` is for engines that can also train the parts of trials, one for each fold and
seed. An engine computes on the CPU here. Lanes that train together may differ from lanes that train
alone by rounding: by ``RELATIVE`` and ``ABSOLUTE``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typing_extensions import override

from hpo.spec.space.params import Params
from hpo.testing.engine_samples import (
    RESUMED,
    Clusters,
    Line,
    assert_close,
    clusters,
    curve,
    lane,
    line,
    several,
    train,
)
from hpo.train.data.splits import Splits
from hpo.train.engine import Engine, EpochReport, Lane, PartEngine
from hpo.train.task import Task


class EngineTestCase(ABC):
    """Tests of an ``Engine``."""

    @abstractmethod
    def make_engine(self, task: Task, splits: Splits, metric: str, direction: str) -> Engine:
        """Returns a new engine on the CPU, without lanes."""

    def engine(
        self,
        task: Task | None = None,
        splits: Splits | None = None,
        metric: str = "val_accuracy",
        direction: str = "maximize",
    ) -> Engine:
        """Returns an engine for the suite's own task, or another."""
        return self.make_engine(task or Clusters(), splits or clusters(), metric, direction)

    def alone(self, one: Lane, n_epochs: int) -> list[EpochReport]:
        """Returns the epochs of a lane in an engine of its own."""
        engine = self.engine()
        assert engine.add(one) is None
        return train(engine, n_epochs, [one.key])[one.key]

    def fill(self, engine: Engine, lanes: Iterable[Lane]) -> list[Lane]:
        """Adds lanes as long as there is room; returns those that were added."""
        added: list[Lane] = []
        for one in lanes:
            if len(added) < engine.capacity:
                assert engine.add(one) is None
                added.append(one)
        return added

    # Determinism and independence.

    def test_a_curve_follows_from_the_seed(self) -> None:
        curves = []
        for key, seed in enumerate((7, 8, 7)):
            torch.manual_seed(key)
            curves.append([dict(r.metrics) for r in self.alone(lane(1, seed, dropout=0.5), 3)])
        assert curves[0] == curves[2]
        assert curves[0] != curves[1]

    def test_the_generators_of_the_process_are_left_alone(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        engine = self.engine()
        engine.add(lane(dropout=0.5))
        train(engine, 2, [1])
        engine.test(1)
        assert torch.equal(torch.rand(3), expected)

    def test_lanes_are_independent_of_one_another(self) -> None:
        engine = self.engine()
        lanes = self.fill(engine, several(4))
        reports = train(engine, 4, [one.key for one in lanes])
        for one in lanes:
            assert_close(reports[one.key][:4], self.alone(one, 4))

    def test_lanes_join_and_leave_while_others_train(self) -> None:
        engine = self.engine()
        first, *others, late = self.fill(engine, several(4)) + several(5)[4:]
        reports = train(engine, 1, [first.key, *(one.key for one in others)])
        stays = others[-1:]
        for one in [first, *others[:-1]]:
            engine.remove(one.key)
        engine.remove(first.key)
        assert engine.add(late) is None
        more = train(engine, 3, [late.key, *(one.key for one in stays)])
        assert set(more) == {late.key, *(one.key for one in stays)}
        for one in stays:
            found = reports[one.key] + more[one.key]
            assert_close(found[:3], self.alone(one, 3))
        assert_close(more[late.key][:3], self.alone(late, 3))

    def test_capacity_is_a_limit(self) -> None:
        engine, key = self.engine(), 0
        while key < engine.capacity:
            assert engine.add(lane(key)) is None
            key += 1
        with pytest.raises(ValueError, match="no place"):
            engine.add(lane(-1))
        engine.remove(0)
        engine.remove(0)
        assert engine.add(lane(-1)) is None

    # Reports, the best epoch, and files.

    def test_a_report_says_what_an_epoch_came_to(self) -> None:
        engine = self.engine()
        engine.add(lane(learning_rate=0.25))
        (report,) = train(engine, 1, [1])[1]
        assert (report.key, report.epoch, report.learning_rate) == (1, 1, 0.25)
        assert list(report.metrics)[:3] == ["train_loss", "val_loss", "val_accuracy"]
        assert report.seconds > 0
        assert report.samples_per_s > 0
        assert engine.epoch(1) == 1
        assert engine.lane_epochs >= engine.stack_epochs > 0

    @pytest.mark.parametrize("direction", ["maximize", "minimize"])
    def test_the_best_epoch_is_kept(self, direction: str, tmp_path: Path) -> None:
        engine = self.engine(direction=direction)
        one = lane(dropout=0.5, learning_rate=0.5, batch_size=8)
        assert engine.add(one) is None
        assert engine.best(1) == (0, {})
        reports = train(engine, 6, [1])[1]
        values = [report.metrics["val_accuracy"] for report in reports]
        first = values.index(max(values) if direction == "maximize" else min(values)) + 1
        assert engine.best(1) == (first, dict(reports[first - 1].metrics))
        engine.export(1, tmp_path / "model.pt", {"task": "clusters"})
        file = torch.load(tmp_path / "model.pt", weights_only=True)
        assert (file["epoch"], file["metrics"], file["task"]) == (*engine.best(1), "clusters")
        assert file["params"]["dropout"] == 0.5
        Clusters().model(Params(file["params"])).load_state_dict(file["state_dict"])
        assert 0 < engine.test(1)["test_accuracy"] <= 1

    def test_testing_does_not_change_the_training(self) -> None:
        plain, tested = self.engine(direction="minimize"), self.engine(direction="minimize")
        for engine in (plain, tested):
            engine.add(lane(dropout=0.5, learning_rate=0.5))
            train(engine, 3, [1])
        tested.test(1)
        assert curve(train(plain, 2, [1])[1]) == curve(train(tested, 2, [1])[1])

    def test_without_test_samples_there_is_nothing_to_test(self) -> None:
        engine = self.engine(splits=replace(clusters(), test=None))
        engine.add(lane())
        train(engine, 1, [1])
        assert engine.test(1) == {}

    # Checkpoints.

    @pytest.mark.parametrize("values", RESUMED.values(), ids=RESUMED.keys())
    def test_a_resumed_trial_continues_bit_for_bit(
        self, values: dict[str, Any], tmp_path: Path
    ) -> None:
        whole = lane(**{"dropout": 0.3, "batch_size": 16, "weight_decay": 1e-3, **values})
        through = self.engine()
        assert through.add(whole) is None
        expected = curve(train(through, 6, [1])[1])
        found: list[Any] = []
        path, rest = tmp_path / "trial.pt", whole
        for n_epochs in (1, 3, 2):
            engine = self.engine()
            assert engine.add(rest) is None
            found += curve(train(engine, n_epochs, [1])[1])
            engine.save(1, path)
            rest = replace(whole, epoch=len(found), checkpoint=path)
        assert found == expected
        assert engine.best(1) == through.best(1)
        assert engine.test(1) == through.test(1)
        states = []
        for one in (engine, through):
            one.export(1, tmp_path / "model.pt")
            states.append(torch.load(tmp_path / "model.pt", weights_only=True)["state_dict"])
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

    @pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\x05\x06" + 18 * b"\0"])
    def test_without_a_usable_checkpoint_a_trial_starts_from_epoch_0(
        self, content: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "trial.pt"
        if content is not None:
            path.write_bytes(content)
        engine = self.engine()
        assert engine.add(replace(lane(), epoch=4, checkpoint=path)) is None
        assert "starts from epoch 0" in caplog.text
        assert engine.epoch(1) == 0
        assert curve(train(engine, 2, [1])[1]) == curve(self.alone(lane(), 2))

    @pytest.mark.parametrize("other", [lane(seed=8), lane(width=16), lane(learning_rate=0.2)])
    def test_the_checkpoint_of_another_trial_is_not_used(
        self, other: Lane, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = self.engine()
        engine.add(lane())
        train(engine, 1, [1])
        engine.save(1, tmp_path / "trial.pt")
        engine.remove(1)
        assert engine.add(replace(other, epoch=1, checkpoint=tmp_path / "trial.pt")) is None
        assert engine.epoch(1) == 0
        assert "another trial" in caplog.text

    def test_a_trial_that_was_saved_at_its_end_reports_once_more(self, tmp_path: Path) -> None:
        engine, one = self.engine(), lane(epoch_stop=2)
        engine.add(one)
        last = train(engine, 2, [1])[1][-1]
        engine.save(1, tmp_path / "trial.pt")
        engine.remove(1)
        engine.add(replace(one, epoch=2, checkpoint=tmp_path / "trial.pt"))
        assert train(engine, 1, [1])[1] == [last]
        assert engine.best(1)[0] > 0

    def test_a_schedule_spans_the_full_trial_whatever_the_assignment(self) -> None:
        rates = []
        for epoch_stop in (3, 12):
            one = replace(lane(schedule="cosine", epoch_stop=epoch_stop), horizon=12)
            rates.append([report.learning_rate for report in self.alone(one, 3)])
        assert rates[0] == rates[1]

    # Failures.

    def test_a_lane_that_diverges_fails_as_nan_and_others_continue(self) -> None:
        engine = self.engine(Line(), line(), "val_mse", "minimize")
        sound = lane(0, learning_rate=0.1, batch_size=8)
        lanes = self.fill(engine, [lane(1, learning_rate=1e30, batch_size=8), sound])
        reports = train(engine, 3, [one.key for one in lanes])
        failure = reports[1][-1].failure
        assert failure is not None
        assert (failure.reason, "loss is" in failure.message) == ("nan", True)
        assert len(reports[1]) <= 2
        for one in lanes[1:]:
            assert [report.failure for report in reports[one.key]] == [None] * 3
        while reports := {r.key: [r] for r in engine.advance() if r.epoch < sound.epoch_stop}:
            assert 1 not in reports

    @pytest.mark.parametrize("where", ["build", "forward"])
    def test_a_lane_whose_model_raises_fails_alone_with_its_traceback(self, where: str) -> None:
        engine = self.engine()
        assert engine.add(lane(0)) is None
        sound = [0]
        if engine.capacity == 1:
            engine.remove(sound.pop())
        failure = engine.add(lane(1, breaks=where))
        if where == "forward":
            assert failure is None
            (report,) = train(engine, 1, [1, *sound])[1]
            assert report.epoch == 1
            failure = report.failure
            engine.remove(1)
        assert failure is not None
        assert failure.reason == "user_code"
        assert "Traceback" in failure.message
        assert failure.message.endswith("ValueError: broken on purpose\n")
        for reports in train(engine, 2, sound).values():
            assert [report.failure for report in reports] == [None] * len(reports)
        # There is room for the next trial.
        engine.remove(0)
        assert engine.add(lane(2)) is None

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB"),
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
            MemoryError(),
        ],
    )
    @pytest.mark.parametrize("where", ["build", "forward"])
    def test_out_of_memory_is_a_failure_of_its_own(self, where: str, error: Exception) -> None:
        engine = self.engine(Clusters(error))
        failure = engine.add(lane(breaks=where)) or train(engine, 1, [1])[1][0].failure
        assert failure is not None
        assert failure.reason == "oom"
        assert "memory" in failure.message

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"learning_rate": -1.0}, "learning_rate must be above 0; found -1.0"),
            ({"optimizer": "adm"}, "did you mean adam?"),
            ({"batch_size": 0}, 'batch_size must be a whole number from 1 or "full"; found 0'),
        ],
    )
    def test_impossible_params_are_named(self, values: dict[str, Any], message: str) -> None:
        failure = self.engine().add(lane(**values))
        assert failure is not None
        assert message in failure.message
        assert "Traceback" not in failure.message

    def test_a_metric_that_the_task_does_not_report_is_named(self) -> None:
        engine = self.engine(metric="val_acuracy")
        engine.add(lane())
        (report,) = train(engine, 1, [1])[1]
        assert report.failure is not None
        assert report.failure.reason == "user_code"
        assert "val_acuracy; did you mean val_accuracy?" in report.failure.message


class PartEngineTestCase(EngineTestCase):
    """Tests of a ``PartEngine``: those of an engine, and of lanes that are parts of a trial."""

    @abstractmethod
    @override
    def make_engine(
        self, task: Task, splits: Splits | Sequence[Splits], metric: str, direction: str
    ) -> PartEngine:
        """Returns a new engine on the CPU, without lanes; with several folds where splits are."""

    def parts(self) -> tuple[PartEngine, list[Lane]]:
        """Returns an engine of two folds, and a lane on each."""
        folds = (clusters(1), clusters(2))
        engine = self.make_engine(Clusters(), folds, "val_accuracy", "maximize")
        engine.serve(2)
        lanes = [replace(lane(key, dropout=0.3), fold=key) for key in (0, 1)]
        for one in lanes:
            assert engine.add(one) is None
        return engine, lanes

    def test_each_part_trains_on_its_fold(self) -> None:
        engine, lanes = self.parts()
        reports = train(engine, 3, [0, 1])
        for one, splits in zip(lanes, (clusters(1), clusters(2)), strict=True):
            alone = self.engine(splits=splits)
            assert alone.add(replace(one, fold=0)) is None
            assert_close(reports[one.key][:3], train(alone, 3, [one.key])[one.key])

    def test_an_epoch_of_a_part_is_the_best_one_when_it_is_kept(self) -> None:
        engine, _ = self.parts()
        train(engine, 1, [0, 1])
        assert engine.best(0) == (0, {})
        assert engine.outputs(0) is None
        engine.keep(0, {"val_accuracy": 0.5})
        assert engine.best(0) == (1, {"val_accuracy": 0.5})
        outputs = engine.outputs(0)
        assert outputs is not None
        assert outputs.shape == (30, 3)
        train(engine, 1, [0, 1])
        assert engine.best(0)[0] == 1
        assert engine.test(0) == engine.measure(0, outputs)
        kept = engine.outputs(0)
        assert kept is not None
        assert torch.equal(kept, outputs)

    def test_a_dump_is_what_save_writes(self, tmp_path: Path) -> None:
        engine, one = self.make_engine(Clusters(), clusters(), "val_accuracy", "maximize"), lane()
        engine.add(one)
        train(engine, 2, [1])
        content = engine.dump(1)
        engine.save(1, tmp_path / "trial.pt")
        curves = []
        for checkpoint in (content, tmp_path / "trial.pt"):
            resumed = self.engine()
            assert resumed.add(replace(one, epoch=2, checkpoint=checkpoint)) is None
            curves.append(curve(train(resumed, 2, [1])[1]))
        assert curves[0] == curves[1] == curve(train(engine, 2, [1])[1])

    def test_the_exported_model_is_that_of_the_best_epoch(self, tmp_path: Path) -> None:
        engine = self.engine()
        engine.add(lane(dropout=0.5, learning_rate=0.5, batch_size=8))
        train(engine, 6, [1])
        engine.export(1, tmp_path / "model.pt")
        file = torch.load(tmp_path / "model.pt", weights_only=True)
        model = Clusters().model(Params(file["params"])).eval()
        model.load_state_dict(file["state_dict"])
        test = clusters().test
        assert test is not None
        hits = model(test.x).argmax(-1) == test.y
        assert engine.test(1)["test_accuracy"] == pytest.approx(hits.float().mean().item())
