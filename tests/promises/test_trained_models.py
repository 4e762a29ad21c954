"""docs/tabular.md and docs/models.md, block by block: one file is all that predicting takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_TABLE: Final = "docs/tabular.md#An example"
_ELSEWHERE: Final = "docs/models.md#Predicting elsewhere"
_PLAIN: Final = "docs/models.md#Without hpo"


def model_of(shell: Installed, name: str) -> Path:
    """Returns the file that ``hpo best`` names."""
    path = json.loads(shell.hpo("best", name, "-f", "json"))["model"]
    assert f"model  {path}" in shell.hpo("best", name)
    return shell.folder / path


@pytest.mark.shows(_TABLE, f"{_TABLE}/2", f"{_TABLE}/3", f"{_TABLE}/4", _ELSEWHERE)
@pytest.mark.shows(f"{_ELSEWHERE}/2")
def test_the_wine_table_and_its_model_elsewhere(installed: Installed) -> None:
    blocks = all_blocks()
    installed.python(blocks[_TABLE].text)
    installed.write("wine.toml", blocks[f"{_TABLE}/2"].text)
    (run,) = blocks[f"{_TABLE}/3"].commands
    said = installed.bash(run)
    assert "15/15 trials" in said
    (value,) = installed.query("SELECT max(value) FROM trial_values")[0]
    assert value > 0.9
    (predict,) = blocks[f"{_TABLE}/4"].commands
    said = installed.bash(predict)
    header, *rows = [line.split() for line in said.strip().splitlines()]
    assert " ".join(header) == "row prediction p(Barbera) p(Barolo) p(Grignolino)"
    # The first five wines are of one grower; the model has not seen them.
    assert [row[1] for row in rows].count("Barolo") >= 4
    shown = [line.split() for line in blocks[f"{_TABLE}/4"].shown]
    assert shown[0] == header
    assert [row[:2] for row in shown[1:]] == [row[:2] for row in rows]

    everything = installed.hpo("predict", "wine", "new.csv", "-f", "csv")
    model = model_of(installed, "wine")
    elsewhere = Installed(installed.folder.parent / "elsewhere", prefix=installed.prefix)
    elsewhere.folder.mkdir()
    shutil.copy(model, elsewhere.folder / "trial-000009.pt")
    shutil.move(installed.folder / "new.csv", elsewhere.folder)
    for path in [*installed.folder.glob("hpo.db*"), installed.folder / "wine.csv"]:
        path.unlink()
    (command,) = blocks[_ELSEWHERE].commands
    assert elsewhere.bash(command) == said
    assert elsewhere.bash(f"{command} -f csv") == everything
    told = "; print(model.predict(pd.read_csv('new.csv'))['Barolo'].tolist())"
    code = blocks[f"{_ELSEWHERE}/2"].text.rstrip()
    printed = json.loads(elsewhere.python(f"{code}{told}\n"))
    assert printed == [float(line.split(",")[3]) for line in everything.splitlines()[1:]]


@pytest.mark.shows(_PLAIN)
def test_weights_in_plain_pytorch(installed: Installed) -> None:
    blocks = all_blocks()
    installed.write("my_file.py", blocks["README.md#Your own model"].text)
    installed.write(
        "digits.toml",
        'task = "my_file.py:Digits"\nmetric = "val_accuracy"\n'
        "space = { learning_rate = 0.1, depth = 1, width = 48, dropout = 0.1 }\n"
        "budget = { trials = 1, epochs = 9 }\n",
    )
    installed.hpo("run", "digits.toml")
    shutil.copy(model_of(installed, "digits"), installed.folder / "digits.pt")
    check = """
import sys
assert "hpo" not in sys.modules
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True)
found = model(torch.tensor(x / 16, dtype=torch.float32)).argmax(1)
names = [classes[i] for i in found]
print(sum(int(name) == digit for name, digit in zip(names, y)) / len(y))
"""
    assert float(installed.python(blocks[_PLAIN].text + check)) > 0.9
