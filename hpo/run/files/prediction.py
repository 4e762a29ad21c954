"""Predictions by the file of a trial's models, which needs neither the database nor the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomlkit
import torch
from pandas import DataFrame
from torch import Tensor, nn

from hpo.errors import SpecError, TaskError
from hpo.run.files.dataset_samples import batches_of
from hpo.run.files.model_metadata import FORMAT
from hpo.spec.space.params import Params
from hpo.spec.study_spec import ValidationSpec
from hpo.tasks.code.resolve import Allow, restore
from hpo.train.data.arrays import as_features
from hpo.train.data.batch import call
from hpo.train.data.dataset import Data
from hpo.train.data.fitted_preprocessing import UNKEPT, decode
from hpo.train.data.splits import as_wide
from hpo.train.evaluation import predict
from hpo.train.loop import checkpoint
from hpo.train.loop.checkpoint import CheckpointError
from hpo.train.loop.ensemble import mean_outputs
from hpo.train.task import Task, data_of
from hpo.train.user_code_guard import user_code

_NEEDED: Final[Mapping[str, set[str]]] = {
    "trial": {"study", "study_id", "number", "seed"},
    "task": {"reference", "options", "state"},
    "data": {"kind", "classes", "in_shape", "dtype", "checksum"},
    "validation": set(),
    "preprocessing": {"folds", "whole"},
}


@dataclass(frozen=True)
class TrainedModel:
    """The models of a trial, of one for each fold and seed, and what predicting with them takes.

    Attributes:
        path: Its file.
        saved: What the file holds; see docs/models.md.
        task: Builds the models, and reads samples.
    """

    path: Path
    saved: Mapping[str, Any]
    task: Task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs; none of a regression."""
        return tuple(self.saved["data"]["classes"])

    @property
    def params(self) -> Params:
        """The trial's, with defaults filled in."""
        return Params(self.saved["params"])

    def predict(self, x: Any) -> DataFrame:
        """Predicts samples by all models together, as they were tested.

        Args:
            x: Samples, as ``Task.samples`` takes them.

        Returns:
            A row a sample. Of classes their probabilities, a column each; of a regression its
            numbers in the targets' units. The outputs as they are where the task has a loss of its
            own.

        Raises:
            SpecError: The samples are none for these models.
            TaskError: The task's code raises.
        """
        with user_code("the task"):
            self.task.setup()
        with _about_samples(), user_code("the task's samples()"):
            samples = self.task.samples(x)
        rows = self.predict_rows(samples)
        names = self.classes if len(self.classes) == rows.shape[1] else None
        index = x.index if isinstance(x, DataFrame) else None
        return DataFrame(rows.numpy(), index=index, columns=names)

    def predict_rows(self, samples: Any) -> Tensor:
        """Predicts what ``Task.samples`` has returned.

        Returns:
            Rows as ``predict`` has them, of shape [N, C].

        Raises:
            SpecError: The samples are none for these models.
            TaskError: The task's code raises.
        """
        units: Any = None
        if self.saved["data"].get("is_loaded", False):
            outputs = [self._of_data_set(model, samples) for model in self.networks()]
        else:
            inputs, units = self._inputs(samples)
            n = len(inputs)
            # The parts are those of all folds, seed by seed.
            outputs = [self._outputs(m, inputs[i % n]) for i, m in enumerate(self.networks())]
        return self._readable(mean_outputs(outputs), units)

    @property
    def states(self) -> list[Mapping[str, Any]]:
        """The weights of each model: of all folds, seed by seed."""
        return list(self.saved.get("parts", [self.saved["state_dict"]]))

    def networks(self) -> Iterator[nn.Module]:
        """Yields the models in evaluation mode, in the order of their weights.

        Raises:
            TaskError: The task builds another model than it did, or its code raises.
        """
        return map(self._with_weights, self.states)

    def _inputs(self, samples: Any) -> tuple[list[Tensor], Any]:
        """Returns the inputs of each fold's models, and what knows the units of the targets."""
        kept = self.saved["preprocessing"]
        folds = kept["folds"]
        if any(one is not None and UNKEPT in one for one in folds):
            return self._fitted_again(samples, folds[0][UNKEPT])
        with user_code("the preprocessing"):
            fitted = [decode(one) for one in folds]
            whole = decode(kept["whole"])
        with _about_samples(), user_code("the preprocessing"):
            found = [samples if one is None else one.transform(samples) for one in fitted]
            return [self._as_trained(one) for one in found], whole

    def _as_trained(self, found: Any) -> Tensor:
        """Returns inputs in the type and shape in which the models were trained on theirs."""
        data = self.saved["data"]
        if data["dtype"] == "int64" and isinstance(found, Tensor):
            values = found.to(torch.int64)
        elif isinstance(found, Tensor) and not found.is_floating_point():
            values = as_features(found.double(), "the samples")
        else:
            values = as_features(found, "the samples")
        wanted = tuple(data["in_shape"])
        # A category that a fold's training rows lack has no column there.
        is_fold = len(self.saved["preprocessing"]["folds"]) > 1
        if values.shape[1:] != wanted and not (is_fold and values.dim() == len(wanted) + 1 == 2):
            raise TaskError(
                f"a sample must be of shape {list(wanted)}; found {list(values.shape[1:])}"
            )
        return as_wide(values, wanted)

    def _fitted_again(self, samples: Any, what: str) -> tuple[list[Tensor], Any]:
        """Fits preprocessing that no file can hold to the data, if that is still the same."""
        with user_code("the task"):
            data = data_of(self.task)
            checksum = data.checksum()
        if checksum != self.saved["data"]["checksum"]:
            raise TaskError(
                "the task's data is not what the model was trained on, and its preprocessing "
                f"cannot be kept in a file, for it holds {what}",
                hint="classes with plain attributes, arrays and scikit-learn's transformers can be",
            )
        with _about_samples():
            inputs = data.features(samples, ValidationSpec(**self.saved["validation"]))
            return list(inputs), _Units(data)

    def _of_data_set(self, model: nn.Module, samples: Any) -> Tensor:
        """Returns a model's outputs for an array or a data set, see ``batches_of``."""
        chunks = []
        with user_code("the model"), torch.inference_mode():
            for inputs in batches_of(samples, self.saved["data"]["in_shape"]):
                outputs = call(model, self.task.prepare(inputs))
                if not isinstance(outputs, Tensor):
                    raise TaskError("the model returns several outputs; predict() shows one tensor")
                chunks.append(outputs)
        return torch.cat(chunks)

    def _outputs(self, model: nn.Module, x: Tensor) -> Tensor:
        with user_code("the model"), torch.inference_mode():
            outputs: Tensor = predict(model, x, self.params.get("precision", "float32"))
            return outputs

    def _with_weights(self, state: Mapping[str, Any]) -> nn.Module:
        """Returns the task's model with weights of a file, in evaluation mode."""
        model = self._model()
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise TaskError(
                f"the weights of {self.path.name} are not of the model that "
                f"{self.saved['task']['reference']} builds: {_first_line(error)}",
                hint="has its code changed since the study ran?",
            ) from error
        return model.eval()

    def _model(self) -> nn.Module:
        try:
            with user_code("the task's model()"):
                return self.task.model(self.params)
        except TaskError:
            # It may take from the data what shape the samples are of.
            with user_code("the task"):
                data_of(self.task).folds(ValidationSpec(**self.saved["validation"]))
                return self.task.model(self.params)

    def _readable(self, outputs: Tensor, units: Any) -> Tensor:
        """Returns outputs [N, ...] as rows of what they mean, [N, C]."""
        rows = outputs.reshape(len(outputs), -1)
        if self.task.has_own("loss"):
            return rows
        if self.saved["data"]["kind"] == "regression":
            inverse = getattr(units, "inverse_target", None)
            if inverse is None:
                return rows
            numbers = inverse(rows.squeeze(1).double().numpy())
            return torch.as_tensor(numbers).reshape(rows.shape)
        if rows.shape[1] == 1:
            return torch.cat([(-rows).sigmoid(), rows.sigmoid()], dim=1)
        if rows.shape[1] != len(self.classes):
            n = len(self.classes)
            raise TaskError(f"the model gives {rows.shape[1]} outputs for {n} classes")
        return rows.softmax(dim=1)


@contextmanager
def _about_samples() -> Iterator[None]:
    """Makes the samples' fault what is raised over them: the task has trained with its own."""
    try:
        yield
    except TaskError as error:
        raise SpecError(error.message, hint=error.hint, details=error.details) from error


@dataclass(frozen=True)
class _Units:
    """The units of targets by data whose preprocessing has just been fitted."""

    data: Data

    def inverse_target(self, y: Any) -> Any:
        return self.data.plan.in_units(torch.as_tensor(y)).numpy()


def read_model(path: Path) -> dict[str, Any]:
    """Reads a model's file.

    Raises:
        TaskError: There is none, it is damaged, or holds something else.
    """
    if not path.is_file():
        raise TaskError(f"no file {path}")
    try:
        saved = checkpoint.read(path)
    except CheckpointError as error:
        raise TaskError(f"{path} is damaged, or no model's file") from error
    if "optimizer" in saved or "best_epoch" in saved:
        raise TaskError(f"{path} is the checkpoint of a trial, and holds no model to predict with")
    if not {"state_dict", "params"} <= saved.keys():
        raise TaskError(f"{path} holds no model of hpo")
    if saved.get("format", FORMAT) != FORMAT:
        raise TaskError(f"{path} was written by another version of hpo, as {saved['format']!r}")
    if is_complete(saved) and not _has_all(saved):
        raise TaskError(f"{path} is damaged: it lacks some of what a model's file holds")
    return saved


def _has_all(saved: Mapping[str, Any]) -> bool:
    return all(
        isinstance(part := saved.get(name), Mapping) and keys <= part.keys()
        for name, keys in _NEEDED.items()
    )


def is_complete(saved: Mapping[str, Any]) -> bool:
    """Returns whether a file can predict: older versions wrote only weights."""
    return "format" in saved


def load_model(
    path: str | Path, *, task: Task | None = None, allow: tuple[str, ...] = ()
) -> TrainedModel:
    """Loads a model's file, wherever it lies: neither the study nor its data is needed.

    Args:
        path: The file that ``hpo best`` names, or a copy of it.
        task: The study's task, if it is code of your own.
        allow: In place of ``task``: references of code that may run here, such as
            ``train.py:MyTask``. It is looked for beside the file, then in the current folder.

    Raises:
        TaskError: The file is none of a model, or its task may not run here.
    """
    path = Path(path)
    saved = read_model(path)
    if not is_complete(saved):
        raise TaskError(
            f"{path} was written by an older version of hpo and holds weights only",
            hint="predict where its study is: `hpo predict STUDY FILE`",
        )
    return trained_model(path, saved, task, path.absolute().parent, Allow(tuple(allow)))


def trained_model(
    path: Path, saved: Mapping[str, Any], task: Task | None, base_dir: Path, allow: Allow
) -> TrainedModel:
    """Returns the models of a file that is complete, with the task that builds them.

    Raises:
        TaskError: The task may not run here, or raises.
    """
    about = saved["task"]
    if task is None:
        options = tomlkit.parse(about["options"]).unwrap()
        task = restore(about["reference"], options, about["state"], base_dir, allow)
    return TrainedModel(path, saved, task)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else "".join(lines)
