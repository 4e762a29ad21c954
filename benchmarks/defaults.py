"""What a search over the default space of ``tabular`` is worth against scikit-learn's defaults.

Each bundled data set becomes a CSV file and a study that says no more than the file and its target.
After 50 trials its best is measured on test rows. So are scikit-learn's network and its logistic
or ridge regression, with their defaults and standardised features: fitted on the rows that hpo's
networks are trained on, and on all but the test rows, for they need no validation rows to choose.
Several splits, and their means.

Run it from the checkout: ``python benchmarks/defaults.py``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from rich.console import Console
from rich.table import Table
from sklearn import datasets, metrics
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hpo
from hpo.spec.study import ValidationSpec
from hpo.tasks.tabular import Tabular

SETS: dict[str, Callable[[], Any]] = {
    "breast cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "iris": datasets.load_iris,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--splits", type=int, default=3)
    told = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    table = Table(title=f"{told.trials} trials, test rows, means over {told.splits} splits")
    for column in ("data set", "test metric", "hpo", "MLP", "linear", "MLP, all", "linear, all"):
        table.add_column(column)
    console = Console()
    for name, load in SETS.items():
        rows = [compare(load(), seed, told.trials) for seed in range(told.splits)]
        metric = rows[0][0]
        means = [statistics.fmean(row[1][i] for row in rows) for i in range(5)]
        best = max(means)
        cells = [f"[bold]{mean:.4f}[/]" if mean == best else f"{mean:.4f}" for mean in means]
        table.add_row(name, metric, *cells)
        console.print(name, metric, *cells)
    console.print(table)


def compare(bunch: Any, seed: int, n_trials: int) -> tuple[str, list[float]]:
    """Returns the metric, and what the search and each of scikit-learn's models reach in it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.csv"
        frame = DataFrame(bunch.data, columns=[f"x{i}" for i in range(bunch.data.shape[1])])
        frame.assign(target=bunch.target).to_csv(file, index=False)
        options = {"data": str(file), "target": "target"}
        metric = Tabular(**options).metric.removeprefix("val_")
        spec = hpo.StudySpec(
            name="defaults",
            task="tabular",
            task_options=options,
            budget={"trials": n_trials},
            validation={"seed": seed},
            seed=seed,
        )
        study = hpo.run(spec, storage=f"sqlite:///{folder}/hpo.db", artifacts=folder)
        ours = study.best.test[f"test_{metric}"]
        plan = Tabular(**options).data().plan
        rows = plan.cut.assign(plan.targets, ValidationSpec(seed=seed))  # type: ignore[attr-defined]
    known = (rows.train, np.union1d(rows.train, rows.val))
    theirs = [score(one, metric, bunch, fit, rows.test) for fit in known for one in peers(metric)]
    return metric, [ours, *theirs]


def peers(metric: str) -> Iterator[Any]:
    """Yields scikit-learn's network and linear model, with their defaults."""
    if metric == "r2":
        yield from (MLPRegressor(random_state=0), Ridge())
    else:
        yield from (MLPClassifier(random_state=0), LogisticRegression())


def score(
    model: Any, metric: str, bunch: Any, fit: NDArray[np.int64], test: NDArray[np.int64]
) -> float:
    """Returns a model's metric on the test rows."""
    model = make_pipeline(StandardScaler(), model).fit(bunch.data[fit], bunch.target[fit])
    x, y = bunch.data[test], bunch.target[test]
    if metric == "auroc":
        return float(metrics.roc_auc_score(y, model.predict_proba(x)[:, 1]))
    measure = {"r2": metrics.r2_score, "accuracy": metrics.accuracy_score}[metric]
    return float(measure(y, model.predict(x)))


if __name__ == "__main__":
    main()
