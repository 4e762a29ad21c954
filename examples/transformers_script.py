"""A small BERT with Transformers' trainer, which reports, pauses and resumes.

The model is made from a config and the texts are random, so that nothing is downloaded. Run it with
Optuna alone, or with hpo in several processes::

    python transformers_script.py
    hpo run --objective transformers_script.py:objective --direction maximize --trials 8
"""

from __future__ import annotations

from typing import Any

import optuna
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

import hpo
import hpo.transformers

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=8,
)


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    """Returns texts of random words; the first word decides the class."""
    words = torch.randint(5, 50, (n, 8), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": text, "labels": (text[0] > 27).long()} for text in words]


def accuracy(prediction: Any) -> dict[str, float]:
    """Returns the metrics of an evaluation."""
    is_right = prediction.predictions.argmax(1) == prediction.label_ids
    return {"accuracy": float(is_right.mean())}


def objective(trial: optuna.Trial) -> float:
    """Trains one trial and returns its best accuracy."""
    run = hpo.Run(trial)
    set_seed(run.seed)
    callback = hpo.transformers.Callback(run, monitor="eval_accuracy")
    trainer = Trainer(
        model=BertForSequenceClassification(CONFIG),
        args=TrainingArguments(
            output_dir=str(run.dir),
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            weight_decay=trial.suggest_float("weight_decay", 0.0, 0.1),
            num_train_epochs=4,
            per_device_train_batch_size=16,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=rows(192, seed=0),
        eval_dataset=rows(96, seed=1),
        compute_metrics=accuracy,
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=callback.checkpoint)
    return run.best


if __name__ == "__main__":
    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=4)
    print(f"best {study.best_value:.3f} (trial {study.best_trial.number}) {study.best_params}")
