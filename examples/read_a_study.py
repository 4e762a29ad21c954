"""Reads a finished study: its best trial, its learning curves, and predictions of its model.

Run a study first, then this, in the same folder::

    hpo run digits-mlp --trials 20
    python read_a_study.py

The database is Optuna's, so ``optuna.load_study`` reads it, also where hpo is not installed. hpo
adds what Optuna does not have: test metrics and the trained model.
"""

from __future__ import annotations

import sys

import optuna
from sklearn.datasets import load_digits

import hpo


def main(name: str = "digits-mlp", storage: str = "sqlite:///hpo.db") -> None:
    """Shows what a study has found.

    Args:
        name: The study, of a task on the 8x8 digits.
        storage: URL of its database.
    """
    study = optuna.load_study(study_name=name, storage=storage)
    best = study.best_trial
    print(f"best {best.value:.4f} (trial {best.number})")
    for parameter, value in best.params.items():
        print(f"  {parameter} = {value}")

    print("learning curves (epoch: value)")
    for trial in study.trials[:5]:
        points = trial.intermediate_values.items()
        print(f"  trial {trial.number}  " + " ".join(f"{e}:{value:.3f}" for e, value in points))

    # A study that is done is opened by `hpo.run`; one that is not done would be continued.
    found = hpo.run(name, storage=storage).best
    print(f"test accuracy {found.test['test_accuracy']:.4f}")
    assert found.model is not None
    model = hpo.load_model(found.model)
    digits = load_digits()
    chances = model.predict(digits.data[:10] / 16)  # a row a sample, a column a class
    print(f"predicted {chances.idxmax(axis=1).tolist()}")
    print(f"they are  {digits.target[:10].tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
