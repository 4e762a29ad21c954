"""docs/techniques.md: the list of what there shall be, the registries, and what shows it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import hpo.data
from hpo.spec.parsing import VALIDATION
from hpo.tasks import TASKS
from hpo.tasks.models import MODELS
from hpo.tasks.models.blocks import ACTIVATIONS, INITIALIZATIONS, NORMALIZATIONS
from hpo.tasks.models.mlp import WIDTHS
from hpo.train.objective.losses import LOSSES
from hpo.train.objective.metrics import METRICS
from hpo.train.recipe.hyperparameters import standard_names
from hpo.train.recipe.optimizers import OPTIMIZERS
from hpo.train.recipe.precision import PRECISIONS
from hpo.train.recipe.schedules import SCHEDULES
from hpo.train.recipe.weight_averaging import AVERAGES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/techniques.md").read_text()

# What the project was made to cover, line by line.
TRAINING = [
    'batch, stochastic and mini-batch gradient descent (`batch_size = "full"`, 1, or any number)',
    "SGD, momentum, Nesterov momentum, AdaGrad, RMSprop, Adam, AdamW",
    "learning-rate schedules: constant, step, exponential, cosine annealing, warm-up",
    "losses: mean squared error, cross-entropy, binary cross-entropy, hinge",
    "L1 and L2 regularisation, dropout, label smoothing, gradient clipping",
    "batch normalisation (and layer normalisation) as a searchable choice",
    "activations: ReLU, sigmoid, tanh (and GELU, SiLU)",
    "weight initialisation: Xavier, Kaiming, orthogonal, normal",
    "early stopping within a trial (patience)",
    "data augmentation: noise, shift, mixup, as searchable strengths",
    "k-fold cross-validation as a trial's value",
    "metrics: accuracy, F1 (macro), MSE, MAE, R2, loss",
    "depth, width and connection pattern: linear, MLP, CNN, RNN, GRU, LSTM, Transformer",
]
EXAMPLES = [
    "linear regression, y = 2x + 1 with noise, 100 points, SGD at 0.01, MSE",
    "linear regression on five points, y = 2x",
    "binary classification with two hidden layers of 64 and a sigmoid, 10 features, Adam, BCE",
    "MNIST: 784-64-10, Adam, cross-entropy, batch 64, 10 epochs, test accuracy",
    "image recognition with a CNN, depth and width searched",
    "sequences: RNN, GRU, LSTM, attention",
    "training and validation curves plotted over the epochs",
]
REGISTRIES: dict[str, Iterable[str]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "averaging": AVERAGES,
    "precision": PRECISIONS,
    "loss": LOSSES,
    "activation": ACTIVATIONS,
    "normalization": NORMALIZATIONS,
    "initialization": INITIALIZATIONS,
    "model": MODELS,
    "widths": WIDTHS,
}
READ = standard_names().union(*(family.defaults for family in MODELS.values()), {"model"})


def rows(heading: str, table: int = 0) -> list[list[str]]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    lines = tables[table].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def entries(cell: str) -> dict[str, Any]:
    """What the TOML in a cell says."""
    return {k: v for text in code(cell) if " = " in text for k, v in tomllib.loads(text).items()}


def techniques() -> list[list[str]]:
    return [*rows("Training"), *rows("Training", 1), *rows("Worked examples")]


def test_every_line_of_the_list_has_a_row() -> None:
    assert [row[0] for row in rows("Training")] == TRAINING
    assert [row[0] for row in rows("Worked examples")] == EXAMPLES


def test_choices_are_those_of_the_registries() -> None:
    listed = {
        name: value["choices"]
        for row in [*rows("Training"), *rows("Training", 1)]
        for name, value in entries(row[1]).items()
        if isinstance(value, dict) and name in REGISTRIES
    }
    assert listed == {name: list(registry) for name, registry in REGISTRIES.items()}
    (metrics,) = (entries(row[1])["metric"] for row in rows("Training") if "metric =" in row[1])
    assert metrics == [*(f"val_{name}" for name in METRICS), "val_loss"]


def test_what_is_said_to_work_is_read_and_nothing_that_works_is_called_missing() -> None:
    for technique, entry, _, solo, _ in rows("Training"):
        names = set(entries(entry)) - {"metric", *VALIDATION}
        assert (solo == "yes") == (names <= READ and "not yet" not in entry), technique
    both = [*rows("Training"), *rows("Training", 1)]
    shown = {name for row in both for name in entries(row[1])}
    assert standard_names() - shown == set()


def test_rows_are_either_done_or_not_yet() -> None:
    for row in techniques():
        assert len(row) == 5, row
        alone = {"trains alone", "yes, but fp16 trains alone"}
        assert row[3] in ("yes", "not yet"), row[0]
        assert row[4] in {"yes", "not yet"} | alone, row[0]
        assert row[3] == "not yet" or row[2], row[0]
        assert (row[3], row[4]) != ("not yet", "yes"), row[0]


@pytest.mark.parametrize("row", techniques(), ids=lambda row: row[0][:40])
def test_what_shows_it_exists(row: list[str]) -> None:
    runs = [text.removeprefix("hpo run ") for text in code(row[1]) if text.startswith("hpo run ")]
    for named in [*code(row[2]), *runs]:
        file, _, test = named.partition("::")
        assert file.startswith(("studies/", "tests/"))
        text = (ROOT / file).read_text()
        assert not test or f"\ndef {test}(" in text, named


def test_studies_and_their_values_are_listed() -> None:
    section = PAGE.partition("\n## Worked examples\n")[2].partition("\n## ")[0]
    studies = {f"studies/{path.name}" for path in (ROOT / "studies").glob("*.toml")}
    assert studies <= set(re.findall(r"studies/\w+\.toml", section))


def test_models_and_their_defaults_are_listed() -> None:
    listed = {name: entries(row[2]) for row in rows("Models") for name in code(row[0])}
    assert listed == {name: dict(family.defaults) for name, family in MODELS.items()}


def test_data_sets_and_tasks_are_listed() -> None:
    loaders = {name for row in rows("Data sets") for name in code(row[0])}
    assert loaders == set(hpo.data.__all__) - {"Data", "Part", "Splits"}
    assert {name for row in rows("Data sets") for name in code(row[1])} == set(TASKS)
