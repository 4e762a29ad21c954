"""Transformers' trainer under hpo's callback: it reports, saves, resumes and stops."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.errors import TaskError
from tests.kits.scripted_backend import Paused, ScriptedBackend, run_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The imports of Transformers and Accelerate use what is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _rows(n: int) -> list[dict[str, Any]]:
    ids = torch.randint(5, 50, (n, 8), generator=torch.Generator().manual_seed(n))
    return [{"input_ids": x, "labels": (x[0] > 27).long()} for x in ids]


def _accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def _train(
    backend: ScriptedBackend,
    monitor: str | None = None,
    resumes: bool = True,
    evaluated: Any = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Trains as an objective would, and returns the weights."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    import hpo.transformers

    run = run_of(backend)
    callback = hpo.transformers.Callback(run, monitor)
    set_seed(1)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    model = BertForSequenceClassification(config)
    defaults = {
        "output_dir": str(run.dir),
        "num_train_epochs": 4,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 16,
    }
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**{**defaults, **arguments}),
        train_dataset=_rows(48),
        eval_dataset=evaluated or _rows(32),
        compute_metrics=_accuracy,
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=callback.checkpoint if resumes else None)
    trainer.evaluate()
    weights: dict[str, Any] = model.state_dict()
    return weights


def test_a_paused_trial_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = ScriptedBackend(tmp_path / "whole")
    expected = _train(whole)
    first = ScriptedBackend(tmp_path / "trial", stop_at=1)
    with pytest.raises(Paused):
        _train(first)
    second = ScriptedBackend(tmp_path / "trial", stop_at=3)
    with pytest.raises(Paused):
        _train(second)
    third = ScriptedBackend(tmp_path / "trial")
    found = _train(third)

    assert [*first.reported, *second.reported, *third.reported] == [1, 2, 3, 4]
    assert {**first.reported, **second.reported, **third.reported} == whole.reported
    assert set(whole.reported[1]) == {"eval_accuracy", "eval_loss"}
    assert set(whole.metrics) == {"eval_accuracy"}
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    # Nothing is left but the one checkpoint.
    assert [path.name for path in (tmp_path / "trial").iterdir()] == ["kept"]


def test_a_budget_of_fewer_epochs_ends_the_training(tmp_path: Path) -> None:
    backend = ScriptedBackend(tmp_path, metric="accuracy", most=2)
    _train(backend)
    assert backend.announced == 4
    assert list(backend.reported) == [1, 2]
    assert set(backend.reported[1]) == {"accuracy", "loss"}


def test_several_evaluation_sets_are_reported_together(tmp_path: Path) -> None:
    sets = {"a": _rows(16), "b": _rows(24)}
    backend = ScriptedBackend(tmp_path / "sets")
    _train(backend, "eval_b_accuracy", evaluated=sets, num_train_epochs=2)
    assert list(backend.reported) == [1, 2]
    assert set(backend.reported[1]) == {
        f"eval_{name}_{metric}" for name in "ab" for metric in ("accuracy", "loss")
    }
    with pytest.raises(TaskError, match="did you mean eval_b_accuracy"):
        _train(ScriptedBackend(tmp_path / "wrong"), "eval_b_accurac", evaluated=sets)


def test_arguments_that_do_not_let_a_trial_resume_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="evaluation of each epoch"):
        _train(ScriptedBackend(tmp_path), eval_strategy="no")
    with pytest.raises(TaskError, match="one folder"):
        _train(ScriptedBackend(tmp_path / "trial"), output_dir=str(tmp_path / "out"))
    with pytest.raises(TaskError, match="whole checkpoints"):
        _train(ScriptedBackend(tmp_path), save_only_model=True)
    with pytest.raises(TaskError, match="could not be resumed") as caught:
        _train(ScriptedBackend(tmp_path), resumes=False)
    assert "resume_from_checkpoint=callback.checkpoint" in str(caught.value.hint)
