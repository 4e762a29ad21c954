"""Graph inputs: what a prediction graph takes, with samples to try it on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from pandas import DataFrame
from torch import Tensor, nn

from hpo.errors import HpoError
from hpo.run.exporting.prediction_graph import Preprocessing, RawInputs, preprocessing_of
from hpo.run.exporting.preprocessing_graph import Shifted, allows_missing
from hpo.run.files.prediction import TrainedModel
from hpo.spec.study_spec import ValidationSpec
from hpo.tasks.images import ImageFolder
from hpo.train.data.batch import Tensors
from hpo.train.data.loading.loaded_splits import LoadedSplits
from hpo.train.evaluation import rows_per_chunk
from hpo.train.task import data_of
from hpo.train.user_code_guard import user_code

# As many rows of a data set as are evaluated at once.
_LOADED_ROWS: Final = 256
_MISSING_EVERY: Final = 5


@dataclass(frozen=True)
class Probe:
    """Samples to try a graph on.

    Attributes:
        inputs: As the graph takes them, each of shape [N, ...].
        samples: As ``TrainedModel.predict_rows`` takes them; None where they cannot be compared.
    """

    inputs: tuple[Tensor, ...]
    samples: Any = None


@dataclass(frozen=True)
class GraphInputs:
    """What a graph takes.

    Attributes:
        spec: The entry ``input`` of ``model.json``.
        names: Names of the inputs.
        features: Preprocessing of each fold.
        probe: Makes so many random samples.
        missing: Preprocessing that the graph lacks.
    """

    spec: dict[str, Any]
    names: tuple[str, ...]
    features: Sequence[nn.Module]
    probe: Callable[[int], Probe]
    missing: str = ""


def graph_inputs(model: TrainedModel) -> GraphInputs:
    """Returns what the prediction graph of a trial's models takes.

    Raises:
        TaskError: The preprocessing's class is not here, or the task's code raises.
    """
    if model.saved["data"].get("is_loaded", False):
        return _of_data_set(model)
    preprocessing = preprocessing_of(model)
    if preprocessing.known is not None:
        return _of_table(model, preprocessing)
    return _of_array(model, preprocessing)


def _of_table(model: TrainedModel, preprocessing: Preprocessing) -> GraphInputs:
    encoder, known = preprocessing.encoder, preprocessing.known
    assert encoder is not None
    assert known is not None
    fitted, about = encoder.fitted, model.saved["task"]
    options = getattr(model.task, "text_options", (None, None))
    spec = {
        "kind": "table",
        "columns": about["state"]["columns"],
        "numeric": list(fitted.numeric),
        "categorical": {name: list(texts) for name, texts in known.items()},
        "separator": options[0],
        "encoding": options[1],
        "rows_at_once": rows_per_chunk(torch.empty(0, *model.saved["data"]["in_shape"])),
    }

    def probe(n: int) -> Probe:
        found: dict[str, Any] = {}
        for i, name in enumerate(fitted.numeric):
            values = fitted.means[i] + fitted.scales[i] * torch.randn(n, dtype=torch.float64)
            values[i % _MISSING_EVERY :: _MISSING_EVERY] = torch.nan
            found[name] = values.numpy()
        # An unknown category has the place behind the last one.
        codes = [torch.randint(len(texts) + 1, (n,)) for texts in known.values()]
        for (name, texts), column in zip(known.items(), codes, strict=True):
            found[name] = [(*texts, "an unknown category")[code] for code in column.tolist()]
        numbers = [torch.tensor(found[name], dtype=torch.float64) for name in fitted.numeric]
        inputs = [torch.stack(columns, dim=1) for columns in (numbers, codes) if columns]
        return Probe(tuple(inputs), DataFrame(found))

    names = [*(["numbers"] if fitted.numeric else []), *(["categories"] if known else [])]
    return GraphInputs(spec, tuple(names), preprocessing.features, probe)


def _of_array(model: TrainedModel, preprocessing: Preprocessing) -> GraphInputs:
    data, features = model.saved["data"], preprocessing.features
    first = next((m for m in features[0].modules() if isinstance(m, Shifted)), None)
    shape = list(data["in_shape"])
    if preprocessing.is_wide:
        n_raw = _n_raw(model, shape[0])
        shape = [n_raw]
    dtype = "float64" if preprocessing.is_wide else data["dtype"]
    tensor = {
        "name": "samples",
        "shape": shape,
        "dtype": dtype,
        "bytes": False,
        "finite": not allows_missing(features[0]),
    }
    spec: dict[str, Any] = {
        "kind": "array",
        "tensors": [tensor],
        "rows_at_once": rows_per_chunk(torch.empty(0, *data["in_shape"])),
    }
    if isinstance(model.task, ImageFolder):
        spec["images"] = {"size": shape[-1], "grayscale": shape[0] == 1}

    def probe(n: int) -> Probe:
        x = _random(n, shape, dtype)
        if first is not None and first.shift.shape in ((), (shape[0],)):
            # Numbers as far from 0 as those of the training rows.
            x = x * first.scale + first.shift
        return Probe((x,), None if preprocessing.missing else x)

    return GraphInputs(spec, ("samples",), features, probe, preprocessing.missing)


def _n_raw(model: TrainedModel, n_features: int) -> int:
    """Returns how many numbers a sample has before it is preprocessed."""
    from hpo.train.data.fitted_preprocessing import decode

    fitted = decode(model.saved["preprocessing"]["folds"][0])
    fitted = getattr(fitted, "scaler", fitted)
    return int(getattr(fitted, "n_features_in_", n_features))


def _of_data_set(model: TrainedModel) -> GraphInputs:
    data, is_own = model.saved["data"], model.task.has_own("prepare")
    example = _example(model) if is_own or not data["in_shape"] else None
    if example is None:
        # Bytes have become numbers from 0 to 1.
        example = _random(2, data["in_shape"], data["dtype"] or "float32")
    names, tensors, arrange = _taken_apart(example)
    spec = {
        "kind": "array",
        "tensors": [
            {
                "name": name,
                "shape": list(one.shape[1:]),
                "dtype": str(one.dtype).removeprefix("torch."),
                "bytes": not is_own,
                "finite": True,
            }
            for name, one in zip(names, tensors, strict=True)
        ],
        "rows_at_once": _LOADED_ROWS,
    }

    def probe(n: int) -> Probe:
        # Of the example itself, for whole numbers may be places in a table.
        rows = torch.arange(n) % len(tensors[0])
        inputs = tuple(one[rows] for one in tensors)
        return Probe(inputs, inputs[0] if arrange is None else None)

    prepare = model.task.prepare if is_own else None
    return GraphInputs(spec, names, [RawInputs(prepare, arrange)], probe)


def _example(model: TrainedModel) -> Tensors | None:
    """Returns inputs of a few samples of the task's data set; None where it is not here."""
    try:
        with user_code("the task"):
            model.task.setup()
            splits = data_of(model.task).folds(ValidationSpec(**model.saved["validation"]))[0]
    except HpoError:
        if not model.saved["data"]["in_shape"]:
            raise
        return None
    if not isinstance(splits, LoadedSplits):
        return None
    splits.close()
    return splits.example.inputs


def _taken_apart(
    example: Tensors,
) -> tuple[tuple[str, ...], list[Tensor], Callable[[tuple[Tensor, ...]], Tensors] | None]:
    """Returns names and tensors of a batch's inputs, and what puts tensors together again."""
    if isinstance(example, Tensor):
        return ("samples",), [example], None
    if isinstance(example, dict):
        names = tuple(map(str, example))
        return names, list(example.values()), lambda own: dict(zip(names, own, strict=True))
    names = tuple(f"input_{i}" for i in range(1, len(example) + 1))
    return names, list(example), tuple


def _random(n: int, shape: Sequence[int], dtype: str) -> Tensor:
    if dtype == "int64":
        return torch.randint(2, (n, *shape))
    return torch.randn(n, *shape, dtype=getattr(torch, dtype))
