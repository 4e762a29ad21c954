"""Prediction graph: the models of a trial with their preprocessing, from samples to predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.run.exporting.preprocessing_graph import (
    TableInputs,
    UnsupportedPreprocessingError,
    Widened,
    array_inputs,
    known_categories,
    units_of,
)
from hpo.run.files.prediction import TrainedModel
from hpo.tasks.tables.table_encoding import TableEncoder
from hpo.train.data.batch import Tensors, call
from hpo.train.data.fitted_preprocessing import UNKEPT, decode
from hpo.train.recipe.precision import cast, full
from hpo.train.user_code_guard import user_code

OutputKind = Literal["probabilities", "numbers", "outputs"]
_CPU = torch.device("cpu")


class PredictionGraph(nn.Module):
    """Samples to predictions, [N, C]: preprocessing, models, the mean of their outputs, units.

    Args:
        features: Preprocessing of each fold.
        models: Those of all folds, seed by seed.
        ending: Makes predictions of outputs.
        precision: In which the models compute.
        names: Names of the inputs where a model takes them by name.
    """

    def __init__(
        self,
        features: Sequence[nn.Module],
        models: Sequence[nn.Module],
        ending: nn.Module,
        precision: str,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.features = nn.ModuleList(features)
        self.models = nn.ModuleList(models)
        self.ending = ending
        self.precision = precision
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Returns the predictions."""
        given = [features(*inputs) for features in self.features]
        outputs = []
        for i, model in enumerate(self.models):
            with cast(self.precision, _CPU):
                outputs.append(full(call(model, given[i % len(given)])))
        if not all(isinstance(one, Tensor) for one in outputs):
            raise TaskError("the model returns several outputs; an export has one tensor")
        mean = torch.stack(outputs).mean(dim=0)
        found: Tensor = self.ending(mean.reshape(mean.shape[0], -1))
        return found


class RawInputs(nn.Module):
    """Inputs as the task's models take them, in memory of their own.

    Args:
        prepare: ``Task.prepare`` where samples were read from a data set.
        arrange: Puts several tensors into the tuple or dict of a batch.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Any] | None = None,
        arrange: Callable[[tuple[Tensor, ...]], Tensors] | None = None,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.arrange = arrange

    def forward(self, *inputs: Tensor) -> Any:
        """Returns what a model is called with."""
        own = tuple(one.clone() for one in inputs)
        given = own[0] if self.arrange is None else self.arrange(own)
        return given if self.prepare is None else self.prepare(given)


class Probabilities(nn.Module):
    """Logits [N, C], or one of the second class [N, 1], to probabilities."""

    def forward(self, logits: Tensor) -> Tensor:
        """Returns the probabilities of the classes."""
        if logits.shape[1] == 1:
            return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)
        return logits.softmax(dim=1)


class InUnits(nn.Module):
    """Standardised numbers in the units of the targets: [N, C], float64."""

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__()
        self.mean = mean
        self.scale = scale

    def forward(self, numbers: Tensor) -> Tensor:
        """Returns the numbers in units."""
        return numbers.double() * self.scale + self.mean


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of each fold as modules, with what could not be made one.

    Attributes:
        features: One for each fold.
        known: Categories of each column of text of a table; None where samples are arrays.
        encoder: The first fold's encoder of a table.
        is_wide: Whether the inputs are float64 numbers to be preprocessed.
        missing: What is left to be done before a sample is given to the graph.
    """

    features: Sequence[nn.Module]
    known: Mapping[str, Sequence[str]] | None = None
    encoder: TableEncoder | None = None
    is_wide: bool = False
    missing: str = ""


def preprocessing_of(model: TrainedModel) -> Preprocessing:
    """Returns the preprocessing of a trial's models.

    Raises:
        TaskError: Its class is not here.
    """
    kept, data = model.saved["preprocessing"], model.saved["data"]
    if all(one is None for one in kept["folds"]):
        return Preprocessing([RawInputs()])
    if any(one is not None and UNKEPT in one for one in kept["folds"]):
        return Preprocessing([RawInputs()], missing=str(kept["folds"][0][UNKEPT]))
    with user_code("the preprocessing"):
        folds = [decode(one) for one in kept["folds"]]
    encoders = [one for one in folds if type(one) is TableEncoder]
    (n_features, *more) = data["in_shape"]
    if len(encoders) == len(folds):
        known = known_categories(encoders)
        tables = [Widened(TableInputs(one.fitted, known), n_features) for one in encoders]
        return Preprocessing(tables, known, encoders[0])
    try:
        modules = [array_inputs(one) for one in folds]
    except UnsupportedPreprocessingError as error:
        return Preprocessing([RawInputs()], missing=str(error))
    if more:
        return Preprocessing([RawInputs()], missing=type(folds[0]).__name__)
    return Preprocessing([Widened(one, n_features) for one in modules], is_wide=True)


def ending_of(model: TrainedModel) -> tuple[nn.Module, OutputKind, str]:
    """Returns what makes predictions of outputs, their kind, and what it leaves to be done.

    Raises:
        TaskError: The preprocessing's class is not here.
    """
    if model.task.has_own("loss"):
        return nn.Identity(), "outputs", ""
    if model.saved["data"]["kind"] != "regression":
        return Probabilities(), "probabilities", ""
    whole = model.saved["preprocessing"]["whole"]
    if whole is not None and UNKEPT in whole:
        return nn.Identity(), "numbers", str(whole[UNKEPT])
    with user_code("the preprocessing"):
        fitted = decode(whole)
    try:
        units = units_of(fitted)
    except UnsupportedPreprocessingError as error:
        return nn.Identity(), "numbers", str(error)
    return (nn.Identity() if units is None else InUnits(*units)), "numbers", ""
