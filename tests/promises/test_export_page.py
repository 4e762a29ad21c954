"""docs/export.md, block by block: a tuned model becomes a folder that predicts without hpo."""

from __future__ import annotations

import csv
import io
from typing import Final

import pytest

from tests.kits.torch_alone import run_with_torch_alone
from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_TOP: Final = "docs/export.md#Exporting a model"
_PLAIN: Final = "docs/export.md#In plain PyTorch"
_MLFLOW: Final = "docs/export.md#MLflow"


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.shows(_TOP, f"{_TOP}/2", f"{_TOP}/3", _PLAIN, f"{_PLAIN}/2", f"{_PLAIN}/3", _MLFLOW)
def test_the_wine_model_leaves_the_machine(installed: Installed) -> None:
    blocks = all_blocks()
    installed.python(blocks[_TOP].text)
    installed.write("wine.toml", blocks[f"{_TOP}/2"].text)
    run, export, predict = blocks[f"{_TOP}/3"].commands
    installed.bash(run)
    said = installed.bash(export)
    assert said.startswith("wrote wine-model: README.md, predict.py, model.pt2, weights-1.safet")
    printed = installed.bash(predict)

    # The same where nothing but torch is installed, and by hpo itself.
    script, file = predict.removeprefix("python ").split()
    assert run_with_torch_alone(installed.folder, script, file) == printed
    header, *rows = rows_of(printed)
    expected = rows_of(installed.hpo("predict", "wine", "new.csv", "-f", "csv"))
    assert (
        header == expected[0] == ["row", "prediction", "p(Barbera)", "p(Barolo)", "p(Grignolino)"]
    )
    assert len(rows) == 5
    for found, own in zip(rows, expected[1:], strict=True):
        assert found[:2] == own[:2]
        assert [float(p) for p in found[2:]] == pytest.approx([float(p) for p in own[2:]], abs=1e-6)

    code = "".join(blocks[name].text for name in (_PLAIN, f"{_PLAIN}/2", f"{_PLAIN}/3"))
    printed = installed.python(code)
    assert "['Barbera', 'Barolo', 'Grignolino']" in printed
    assert "weight" in printed

    (register,) = blocks[_MLFLOW].commands
    assert "registered wine, version 1, in MLflow at sqlite:///mlflow.db" in installed.bash(
        register
    )
    asks = (
        "import mlflow, pandas as pd\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/wine/1')\n"
        "print([max(row, key=row.get) for row in model.predict(pd.read_csv('new.csv'))])\n"
    )
    assert str([row[1] for row in rows]) in installed.python(asks)
