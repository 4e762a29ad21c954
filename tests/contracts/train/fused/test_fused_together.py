"""Techniques of single trials in stacks that record steps, share batch sizes, or round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.spec.space.params import Params
from hpo.spec.study_spec import ValidationSpec
from hpo.train.engine import Lane
from hpo.train.fused.admission.autotune import StackSizes
from hpo.train.fused.admission.batch_sharing import batch_sharing_of
from hpo.train.loop.fold_engine import with_parts
from tests.contracts.train.fused.test_fused_batches import ByVmap, Plain, lanes_of, shared
from tests.contracts.train.fused.test_fused_graphs import Convolutional
from tests.contracts.train.fused.test_fused_hyperparameters import Rich
from tests.contracts.train.fused.test_fused_tasks import IMAGES
from tests.contracts.train.loop.test_fold_engine import METRIC, folds, train, trial
from tests.kits.stacks import (
    add,
    advance,
    assert_as_alone,
    assert_same_metrics,
    fused,
    saved,
    sizes_of,
    solo,
)
from tests.kits.tape import Tape, recording

TECHNIQUES: dict[str, dict[str, Any]] = {
    "ema": {"averaging": "ema", "ema_decay": 0.8},
    "swa": {"averaging": "swa", "swa_start": 2},
    "noise": {"augment_noise": 0.2},
    "mixup": {"mixup": 0.4},
    "class weights": {"class_weights": "balanced"},
    "focal": {"loss": "focal", "focal_gamma": 1.5},
    "all": {
        "averaging": "ema",
        "ema_decay": 0.8,
        "augment_noise": 0.2,
        "mixup": 0.4,
        "class_weights": "balanced",
        "loss": "focal",
    },
}
APART = ("ema", "swa", "noise", "mixup", "class weights")


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    return recording(monkeypatch)


def of_one_size(n: int, **values: Any) -> list[Lane]:
    return lanes_of(batches=[16] * n, **values)


def with_values(one: Lane, **values: Any) -> Lane:
    return replace(one, params=Params({**one.params.asdict(), **values}))


@pytest.mark.parametrize("technique", TECHNIQUES)
@pytest.mark.parametrize("task", [Rich(), ByVmap()], ids=["layers", "vmap"])
def test_steps_with_techniques_are_replayed(
    task: Any, technique: str, tapes: list[Tape], tmp_path: Path
) -> None:
    lanes, engine = of_one_size(3, **TECHNIQUES[technique]), fused(task)
    add(engine, lanes)
    reports = advance(engine, 3)
    # Five batches of 16 and a smaller one, in each of three epochs.
    assert [tape.n_replays for tape in tapes] == [3 * 5 - 1, 2]
    assert_as_alone(engine, lanes, reports, lambda: solo(task), tmp_path)


def test_steps_with_changed_images_are_replayed(tapes: list[Tape], tmp_path: Path) -> None:
    values = {"augment_shift": 0.2, "augment_flip": 0.5, "augment_cutout": 0.3}
    lanes, engine = of_one_size(3, **values), fused(Convolutional(), IMAGES)
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sum(tape.n_replays for tape in tapes) > 0
    assert_as_alone(engine, lanes, reports, lambda: solo(Convolutional(), IMAGES), tmp_path)


def test_a_lane_of_other_strengths_uses_what_was_recorded(
    tapes: list[Tape], tmp_path: Path
) -> None:
    values = {**TECHNIQUES["all"], "dropout": 0.3, "grad_clip": 0.2, "l1": 0.01}
    lanes, engine = of_one_size(4, **values), fused(Rich())
    lanes = [with_values(one, weight_decay=0.1) for one in lanes]
    other = {"augment_noise": 0.5, "mixup": 2.0, "focal_gamma": 0.5, "class_weights": "none"}
    lanes[3] = with_values(lanes[3], **other)
    add(engine, lanes[:3])
    advance(engine, 2)
    engine.remove(1)
    add(engine, lanes[3:])
    reports = advance(engine, 2)
    assert len(tapes) == 2
    assert_as_alone(engine, lanes[3:], reports, lambda: solo(Rich()), tmp_path)


@pytest.mark.parametrize("technique", ["mixup", "noise", "class weights"])
def test_a_technique_that_a_lane_brings_is_recorded_anew(
    technique: str, tapes: list[Tape], tmp_path: Path
) -> None:
    lanes, engine = of_one_size(3), fused(Rich())
    lanes[2] = with_values(lanes[2], **TECHNIQUES[technique])
    add(engine, lanes[:2])
    advance(engine, 2)
    engine.remove(0)
    add(engine, lanes[2:])
    reports = advance(engine, 2)
    assert len(tapes) == 4
    assert_as_alone(engine, lanes[2:], reports, lambda: solo(Rich()), tmp_path)


@pytest.mark.parametrize("technique", APART)
def test_trials_that_need_whole_batches_share_with_none_of_another_size(
    technique: str, tmp_path: Path
) -> None:
    lanes, engine = lanes_of("sgd", [8, 16, 8, 16, 16]), shared(Plain())
    lanes[2:4] = [with_values(one, **TECHNIQUES[technique]) for one in lanes[2:4]]
    add(engine, lanes)
    reports = advance(engine, 2)
    assert (sizes_of(engine), engine.alone) == ([3, 1, 1], {})
    assert [engine.shares_batch_sizes(one.params) for one in lanes[1:3]] == [True, False]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain()), tmp_path)


@pytest.mark.parametrize("values", [{}, {"loss": "focal"}, {"loss": "hinge"}], ids=str)
def test_losses_add_up(values: dict[str, Any], tmp_path: Path) -> None:
    lanes, engine = lanes_of(**values), shared(Plain())
    add(engine, lanes)
    reports = advance(engine, 2)
    assert sizes_of(engine) == [len(lanes)]
    assert_as_alone(engine, lanes, reports, lambda: solo(Plain()), tmp_path)


def test_folds_share_no_batch_sizes_and_are_replayed(tapes: list[Tape]) -> None:
    spec, n_train = ValidationSpec(folds=3, seeds=2), len(folds()[0].train)
    sizes = StackSizes(
        torch.device("cpu"), fixed=64, batch_sharing=batch_sharing_of([8, 16], n_train)
    )
    inner = fused(Plain(), folds(), METRIC, "maximize", sizes)
    engine = with_parts(inner, spec, (METRIC,), "maximize")
    lanes = [trial(1, batch_size=8, averaging="ema"), trial(2, 8, batch_size=16, averaging="ema")]
    for one in lanes:
        assert engine.add(one) is None
    reports = train(engine, 3)
    assert sizes_of(inner) == [6, 6]
    assert sum(tape.n_replays for tape in tapes) > 0
    for one in lanes:
        inner = solo(Plain(), folds(), METRIC, "maximize")  # type: ignore[assignment]
        alone = with_parts(inner, spec, (METRIC,), "maximize")
        assert alone.add(one) is None
        for found, expected in zip(reports[one.key], train(alone, 3)[one.key], strict=True):
            assert_same_metrics(found.metrics, expected.metrics)


def test_averages_and_augmentation_in_bf16_are_other_than_in_float32(tmp_path: Path) -> None:
    values = {"averaging": "ema", "augment_noise": 0.1, "dropout": 0.0}
    states = []
    for precision in ("float32", "bf16"):
        engine = fused(Plain())
        add(engine, of_one_size(2, precision=precision, **values))
        advance(engine, 2)
        states.append(saved(engine, 0, tmp_path).average)
    differences = [float((states[1][n] - t).abs().max()) for n, t in states[0].items()]
    # Bfloat16 has three digits.
    assert 0 < max(differences) < 0.05
