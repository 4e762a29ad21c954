"""Task ``tabular``: a network for the user's CSV or Parquet file, without Python code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from pandas import DataFrame, Series
from torch import Tensor, nn

from hpo.errors import Problem, SpecError, did_you_mean
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import Categorical, Float, Int
from hpo.tasks.models.mlp import MLP_DEFAULTS, mlp
from hpo.tasks.tables import table_columns
from hpo.tasks.tables.labelled_rows import known_rows
from hpo.tasks.tables.standard_units import metrics_in_units
from hpo.tasks.tables.table_encoding import TableEncoder
from hpo.tasks.tables.table_files import read_table, say_once, wrong
from hpo.tasks.tables.table_model import TableModel
from hpo.tasks.tables.target_column import TargetColumn, read_target, require_kind
from hpo.train.data.dataset import Data
from hpo.train.objective import metrics
from hpo.train.task import Task

# A validation set of a fifth of so few rows is too small to compare trials.
_FEW_ROWS: Final = 2_000
_FOLDS: Final = 5
# With fewer rows a fold is too small to measure anything.
_MIN_FOLDED: Final = 50
# With so many rows of each of two classes, every fold holds some of both.
_RARE: Final = 2 * _FOLDS
# With few rows an epoch has few steps.
_EPOCHS: Final = 54
_HAS_LAYERS: Final = {"depth": [1, 2, 3]}
_OPTIONAL: Final = ("separator", "encoding", "groups", "order")
_MAX_LISTED: Final = 12


class Tabular(Task):
    """Predicts one column of a table from the others.

    Args:
        data: A CSV, TSV or Parquet file.
        target: The column to predict.
        kind: ``classification``, ``regression``, or ``auto`` to infer it from the target's values.
        drop: Columns to leave out.
        groups: A column, such as a patient's number, whose rows of one value stay in one split. It
            is left out too.
        order: A column, such as a date. The last rows in its order are the test split, and those
            before them the validation split.
        separator: Field separator of a text file, if it cannot be inferred.
        encoding: Of a text file that is neither UTF-8 nor Windows-1252, such as ``shift-jis``.
        missing: Texts that count as missing, beside empty cells. By default the usual ones, such
            as ``NA``, count among numbers and dates, and none in the target.

    Raises:
        SpecError: The file or one of the columns is not there, or cannot be used.
    """

    path_options: ClassVar[tuple[str, ...]] = ("data",)
    measures_in_units = True
    defaults: ClassVar[Mapping[str, Any]] = MLP_DEFAULTS
    space: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "learning_rate": Float(3e-4, 0.1, log=True),
        "batch_size": Categorical([16, 32, 64, 128]),
        "weight_decay": Float(1e-4, 10.0, log=True),
        # Without hidden layers it is a linear model.
        "depth": Int(0, 3),
        "width": Categorical([16, 32, 64, 128], when=_HAS_LAYERS),
        "dropout": Float(0.0, 0.5, when=_HAS_LAYERS),
        "normalization": Categorical(["none", "batch"], when=_HAS_LAYERS),
    }

    def __init__(  # noqa: PLR0913 - each is an option of the study
        self,
        *,
        data: str,
        target: str,
        kind: str = "auto",
        drop: str | Sequence[str] = (),
        groups: str | None = None,
        order: str | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        missing: Sequence[str] | None = None,
    ) -> None:
        texts = {"separator": separator, "encoding": encoding, "groups": groups, "order": order}
        _require_text(data=data, target=target, **texts)
        require_kind(kind)
        self.text_options = (separator, encoding)
        frame = read_table(Path(data), separator, encoding)
        dropped = _names(drop)
        words = None if missing is None else _names(missing, "missing", "texts")
        cuts = {option: name for option, name in (("groups", groups), ("order", order)) if name}
        _require_columns(frame, target, dropped, cuts)
        decimal_comma = frame.attrs.get("decimal_comma", False)
        known = known_rows(frame, target, kind, words)
        notices, n_all, frame = known.notices, len(frame), known.frame
        self._target_name = target
        self._target: TargetColumn = read_target(frame[target], kind)
        left_out = dict.fromkeys([*dropped, *([groups] if groups else [])])
        features = frame.drop(columns=[target, *left_out])
        self._columns = table_columns.find_columns(
            features,
            missing=words,
            n_left_out=n_all - len(frame),
            decimal_comma=decimal_comma,
        )
        notices = [*notices, table_columns.left_out(self._columns, features.shape[1])]
        self.notices = tuple(filter(None, [*notices, *self._columns.notices]))
        for notice in self.notices:
            say_once(notice)
        self._columns.dropped |= dict.fromkeys(left_out, "is excluded by the study")
        if self._columns.frame.empty:
            raise wrong("data", f"{Path(data).name} has no usable column beside {target}")
        _, n_each = np.unique(self._target.values, return_counts=True)
        self._n_rarest = int(n_each.min())
        self._is_small = len(frame) <= _FEW_ROWS
        self._is_shuffled = not cuts
        self._encoder = TableEncoder(self._columns.numeric, self._columns.categorical)
        # Split here, so that its mistakes are reported with those of the study.
        self._data = Data.split(
            self._columns.frame,
            self._target.values,
            kind=self._target.kind,
            preprocess=self._encoder,
            **{option: _splitting(frame, option, name) for option, name in cuts.items()},
        )

    @property
    def metric(self) -> str:  # type: ignore[override]  # known once the target has been read
        """The default metric, by the kind of the target."""
        if self._target.kind == "regression":
            return "val_r2"
        return "val_auroc" if self._data.n_classes == 2 else "val_accuracy"

    @property
    def budget(self) -> Mapping[str, Any]:  # type: ignore[override]  # known with the rows
        """The default epochs: more for few rows."""
        return {"epochs": _EPOCHS} if self._is_small else {}

    @property
    def validation(self) -> Mapping[str, Any]:  # type: ignore[override]  # known with the rows
        """The default folds: five for few rows that have no order.

        There are none where a fold might hold a single class, for which AUROC is undefined.
        """
        is_rare = self._data.n_classes == 2 and self._n_rarest < _RARE
        is_enough = self._data.n_rows >= _MIN_FOLDED and not is_rare
        return {"folds": _FOLDS} if self._is_small and self._is_shuffled and is_enough else {}

    def data(self) -> Data:
        """Returns the data set."""
        return self._data

    def read(self, path: Path) -> DataFrame:
        """Reads a file of other rows, whose texts stay text."""
        return read_table(path, *self.text_options, as_text=True)

    def samples(self, x: DataFrame) -> DataFrame:
        """Returns rows of a table like the study's, with or without its target, for ``predict``.

        Raises:
            TaskError: Columns are missing.
        """
        return table_columns.again(x, self._columns.readings)

    def export_state(self) -> Mapping[str, Any]:
        """Returns what rebuilds the task without its data, for a model's file."""
        if not self._encoder.n_features:
            self._data.splits()
        return {
            "columns": {name: r.to_plain() for name, r in self._columns.readings.items()},
            "n_features": self._encoder.n_features,
            "n_outputs": self._data.n_classes or 1,
        }

    @classmethod
    def from_export(cls, options: Mapping[str, Any], state: Mapping[str, Any]) -> Task:
        """Returns the task that predicts without the study's data."""
        return TableModel(options, state)

    def model(self, params: Params) -> nn.Module:
        """Builds the network that the params describe.

        The number of inputs is known once the data has been split. If it has not, it is split
        here by the default.
        """
        if not self._encoder.n_features:
            self._data.splits()
        return mlp(self._encoder.n_features, self._data.n_classes or 1, params)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        """Returns metrics over a whole split; those of a regression in the target's own units.

        Args:
            outputs: Logits of shape [N, C], or numbers of shape [N, 1] in standard units.
            targets: Classes of shape [N], or numbers of shape [N] in standard units.
        """
        if self._target.kind == "classification":
            return metrics.measure(metrics.metrics_of("classification"), outputs, targets)
        return metrics_in_units(outputs, targets, self._encoder.target_scale)

    def describe(self) -> dict[str, Any]:
        """Returns how the table is used, as plain data for reports."""
        return {
            "kind": self._target.kind,
            "n_rows": self._data.n_rows,
            "target": self._target_name,
            "classes": list(self._data.classes),
            **table_columns.describe(self._columns),
        }


def _require_text(**options: Any) -> None:
    problems = [
        Problem(f"task_options.{name}", f"must be text; found {value!r}")
        for name, value in options.items()
        if not (isinstance(value, str) and value) and not (name in _OPTIONAL and value is None)
    ]
    if problems:
        raise SpecError(source="the study", problems=problems)


def _names(given: Any, option: str = "drop", what: str = "columns") -> list[str]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise wrong(option, f"must be a list of {what}; found {given!r}")
    return list(dict.fromkeys(names))


def _require_columns(
    frame: DataFrame, target: str, dropped: Sequence[str], cuts: Mapping[str, str]
) -> None:
    named = {"target": [target], "drop": dropped, **{key: [name] for key, name in cuts.items()}}
    problems = [
        Problem(f"task_options.{option}", _no_column(name, list(frame.columns)))
        for option, names in named.items()
        for name in names
        if name not in frame.columns
    ]
    problems += [
        Problem(f"task_options.{option}", f"{target} is the target")
        for option, names in named.items()
        if option != "target" and target in names
    ]
    if len(cuts) > 1:
        problems.append(Problem("task_options.order", "rows are split by groups or by order"))
    if problems:
        raise SpecError(source="the study", problems=problems)


def _no_column(name: str, names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_LISTED])
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"no column {name}; there are {listed}{more}{did_you_mean(name, names)}"


def _splitting(frame: DataFrame, option: str, name: str) -> Series:
    """Returns the column that rows are split by."""
    n_missing = int(frame[name].isna().sum())
    if n_missing:
        raise wrong(option, f"{name} is missing in {n_missing:,} of {len(frame):,} rows")
    if option == "groups":
        return frame[name]
    ordered = table_columns.as_ordered(frame[name])
    if ordered is None:
        raise wrong(option, f"{name} must hold numbers, or dates such as 2024-01-31")
    return ordered
