"""Table model: predicts for ``tabular`` without the study's table, by its columns and network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pandas import DataFrame
from torch import nn

from hpo.spec.space.params import Params
from hpo.tasks.models.mlp import mlp
from hpo.tasks.tables import table_columns
from hpo.tasks.tables.column_readings import Reading
from hpo.tasks.tables.table_files import read_table
from hpo.train.task import Task


class TableModel(Task):
    """Task that reads new rows with the types of the study's table, and builds its network.

    Args:
        options: Options of the study's task.
        state: The result of ``Tabular.export_state``.
    """

    def __init__(self, options: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        self._options = options
        self._readings = {name: Reading.from_plain(r) for name, r in state["columns"].items()}
        self._n_features = int(state["n_features"])
        self._n_outputs = int(state["n_outputs"])

    def read(self, path: Path) -> DataFrame:
        """Reads a file of rows whose texts stay text.

        Raises:
            SpecError: There is no such file, or it holds no table.
        """
        return read_table(path, *self.text_options, as_text=True)

    @property
    def text_options(self) -> tuple[str | None, str | None]:
        """Separator and encoding of text files, where the study names them."""
        return self._options.get("separator"), self._options.get("encoding")

    def samples(self, x: DataFrame) -> DataFrame:
        """Returns the rows with the columns of the study's table."""
        return table_columns.again(x, self._readings)

    def model(self, params: Params) -> nn.Module:
        """Builds the model that the params describe."""
        return mlp(self._n_features, self._n_outputs, params)
