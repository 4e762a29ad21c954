"""What a search over the default space of ``tabular`` is worth against scikit-learn's defaults.

Each bundled data set becomes a CSV file and a study that says no more than the file and its target.
After 50 trials its best is measured on test rows. So are scikit-learn's network and its logistic
or ridge regression, with their defaults and standardised features, fitted on all other rows: those
that hpo trains and validates on. Several splits; differences are taken split by split.

Run it from the checkout: ``python benchmarks/defaults.py``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata
from sklearn import datasets, metrics
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import hpo
from hpo.spec.study_spec import ValidationSpec
from hpo.tasks.tabular import Tabular

Scores: TypeAlias = list[float]
"""Of hpo, of scikit-learn's network and of its linear model."""

SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "breast cancer": (datasets.load_breast_cancer, "auroc"),
    "wine": (datasets.load_wine, "accuracy"),
    "iris": (datasets.load_iris, "accuracy"),
    "digits": (datasets.load_digits, "accuracy"),
    "diabetes": (datasets.load_diabetes, "r2"),
}


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    told = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    console = Console(width=120)
    found: dict[str, list[Scores]] = {}
    for name in told.sets:
        load, metric = SETS[name]
        for seed in range(told.splits):
            found.setdefault(name, []).append(compare(load(), metric, seed, told.trials))
            console.print(name, seed, *(f"{score:.4f}" for score in found[name][-1]))
    console.print(table_of(found, f"{told.trials} trials, test rows, {told.splits} splits"))
    ranks = [rankdata([-score for score in row]) for rows in found.values() for row in rows]
    means = np.mean(ranks, axis=0)
    console.print("mean rank: hpo {:.2f}, MLP {:.2f}, linear {:.2f}".format(*means))


def table_of(found: dict[str, list[Scores]], title: str) -> Table:
    """Returns means over the splits, and what hpo is ahead by with its standard error."""
    table = Table(title=title)
    columns = ("data set", "metric", "hpo", "MLP", "linear", "hpo - MLP", "hpo - linear")
    for column in columns:
        table.add_column(column)
    for name, rows in found.items():
        means = [statistics.fmean(scores) for scores in zip(*rows, strict=True)]
        cells = [f"[bold]{mean:.4f}[/]" if mean == max(means) else f"{mean:.4f}" for mean in means]
        ahead = [difference([row[0] - row[i] for row in rows]) for i in (1, 2)]
        table.add_row(name, SETS[name][1], *cells, *ahead)
    return table


def difference(values: Sequence[float]) -> str:
    """Writes the mean of paired differences and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):+.4f} ± {error:.4f}"


def compare(bunch: Any, metric: str, seed: int, n_trials: int) -> Scores:
    """Returns what the search and each of scikit-learn's models reach on one split's test rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.csv"
        frame = DataFrame(bunch.data, columns=[f"x{i}" for i in range(bunch.data.shape[1])])
        frame.assign(target=bunch.target).to_csv(file, index=False)
        options = {"data": str(file), "target": "target"}
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
        rows = plan.rule.assign(plan.targets, ValidationSpec(seed=seed))  # type: ignore[attr-defined]
    known = np.union1d(rows.train, rows.val)
    return [ours, *(score(one, metric, bunch, known, rows.test) for one in peers(metric))]


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
