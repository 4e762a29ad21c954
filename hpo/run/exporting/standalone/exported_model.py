"""Exported model: predicts new samples with the folder of an export; it needs torch alone."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from hpo.run.exporting.standalone.array_files import image_files, read_array_file, read_images
from hpo.run.exporting.standalone.csv_rows import InputError, read_csv_rows
from hpo.run.exporting.standalone.row_features import encode_rows


class ExportedModel:
    """The model of an export.

    Args:
        folder: Holds ``model.json`` and ``model.pt2``.

    Raises:
        InputError: It does not, or this version of torch cannot read them.

    Attributes:
        about: What ``model.json`` holds: params, metrics, classes, how samples are read.
        classes: Names of the classes; empty for a regression.
        columns: Names of the predicted columns.
        program: The model as ``torch.export`` has saved it.
    """

    def __init__(self, folder: str | Path) -> None:
        about = Path(folder, "model.json")
        if not about.is_file():
            raise InputError(f"{folder} holds no model.json; is it the folder of an export?")
        self.about: dict[str, Any] = json.loads(about.read_text("utf-8"))
        self.classes: list[str] = self.about["classes"]
        self.columns: list[str] = self.about["output"]["columns"]
        self._input: dict[str, Any] = self.about["input"]
        try:
            self.program = torch.export.load(Path(folder, "model.pt2")).module()
        except Exception as error:
            versions = f"torch {torch.__version__}; it was written by torch {self.about['torch']}"
            raise InputError(f"model.pt2 cannot be read by {versions}: {error}") from error

    def predict(self, samples: Any) -> Tensor:
        """Predicts samples.

        Args:
            samples: For a table, a list of dicts or a pandas table, by the names of the study's
                columns. Else a tensor of shape [N, ...], or a tuple or dict of such.

        Returns:
            A row a sample, of shape [N, C]: the probability of each class, or the numbers of a
            regression in the targets' units.

        Raises:
            InputError: The samples are none for this model.
        """
        inputs = self._inputs(samples)
        with torch.inference_mode():
            chunks = [self.program(*chunk) for chunk in self._chunks(inputs)]
        found = torch.cat(chunks) if chunks else torch.empty(0, len(self.columns))
        wrong = (~torch.isfinite(found)).any(dim=1).nonzero()
        if len(wrong):
            raise InputError(f"the prediction of row {int(wrong[0]) + 1} is no finite number")
        return found

    def read(self, path: str | Path) -> Any:
        """Reads samples from a file, in the form that ``predict`` takes.

        Args:
            path: A table (.csv, .tsv), an array (.npy), tensors (.pt), an image or a folder of
                images, by what the model takes.

        Raises:
            InputError: The file does not hold such samples.
        """
        path = Path(path)
        if self._input["kind"] == "table":
            return read_csv_rows(path, self._input["separator"], self._input["encoding"])
        if self.reads_images(path):
            return read_images(image_files(path), self._input["images"])
        return read_array_file(path)

    def reads_images(self, path: Path) -> bool:
        """Returns whether a path is read as one image, or a folder of them."""
        return "images" in self._input and path.suffix.lower() not in (".npy", ".pt", ".pth")

    def _inputs(self, samples: Any) -> tuple[Tensor, ...]:
        """Returns samples as the program takes them."""
        if self._input["kind"] == "table":
            rows = samples.to_dict("records") if hasattr(samples, "to_dict") else samples
            return encode_rows(rows, self._input)
        specs = self._input["tensors"]
        if isinstance(samples, dict):
            samples = [samples.get(spec["name"]) for spec in specs]
        values = samples if isinstance(samples, list | tuple) else [samples]
        if len(values) != len(specs) or any(value is None for value in values):
            names = ", ".join(spec["name"] for spec in specs)
            raise InputError(f"the model takes {len(specs)} tensors: {names}")
        tensors = zip(values, specs, strict=True)
        return tuple(self._as_trained(torch.as_tensor(v), spec) for v, spec in tensors)

    def _as_trained(self, values: Tensor, spec: dict[str, Any]) -> Tensor:
        """Returns inputs in the type and shape of those that the model was trained on."""
        wanted = list(spec["shape"])
        if list(values.shape[1:]) != wanted:
            shape = list(values.shape[1:])
            raise InputError(f"a sample must be of shape {wanted}; found {shape}")
        if values.dtype is torch.uint8 and spec["bytes"]:
            values = values.float() / 255
        values = values.to(getattr(torch, spec["dtype"]))
        if values.is_floating_point() and spec["finite"] and not torch.isfinite(values).all():
            raise InputError("the samples hold NaN or infinite numbers")
        return values

    def _chunks(self, inputs: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        n = self._input["rows_at_once"]
        for begin in range(0, len(inputs[0]), n):
            yield tuple(values[begin : begin + n] for values in inputs)


def _load_pyfunc(folder: str) -> Any:
    """Returns what MLflow predicts with."""
    return _ForMLflow(ExportedModel(folder))


class _ForMLflow:
    """The model as MLflow calls it."""

    def __init__(self, model: ExportedModel) -> None:
        self._model = model

    def predict(self, samples: Any, params: Any = None) -> Any:
        found = self._model.predict(samples).tolist()
        return [dict(zip(self._model.columns, row, strict=True)) for row in found]


def write_predictions(
    model: ExportedModel, found: Tensor, out: TextIO, names: Sequence[Any]
) -> None:
    """Writes predictions as CSV: the sample, the prediction, the probability of each class."""
    writer = csv.writer(out, lineterminator="\n")
    is_classes = model.columns == model.classes
    titles = [f"p({name})" for name in model.columns] if is_classes else model.columns
    first = "row" if isinstance(names, range) else "file"
    writer.writerow([first, *(["prediction"] if is_classes else []), *titles])
    digits = ".9g" if found.dtype is torch.float32 else ".17g"
    for name, row in zip(names, found.tolist(), strict=True):
        best = [model.columns[max(range(len(row)), key=row.__getitem__)]] if is_classes else []
        writer.writerow([name, *best, *(format(value, digits) for value in row)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Predicts the samples of a file, and prints them as CSV."""
    parser = argparse.ArgumentParser(description="Predict new samples. It needs torch alone.")
    parser.add_argument("file", type=Path, help="table, array, image or folder of images")
    parser.add_argument("-o", "--output", type=Path, help="CSV file to write, else it is printed")
    given = parser.parse_args(arguments)
    try:
        model = ExportedModel(Path(__file__).parent)
        samples = model.read(given.file)
        found = model.predict(samples)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    names = image_files(given.file) if model.reads_images(given.file) else range(1, len(found) + 1)
    if given.output is None:
        write_predictions(model, found, sys.stdout, names)
        return 0
    try:
        with given.output.open("w", newline="", encoding="utf-8") as out:
            write_predictions(model, found, out, names)
    except OSError as error:
        parser.exit(1, f"error: {given.output} cannot be written: {error.strerror}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
