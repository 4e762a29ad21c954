"""An exported folder predicts what hpo predicts, in a process that has torch alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import hpo
from hpo.run.exporting.standalone.csv_rows import read_csv_rows
from hpo.run.exporting.standalone.row_features import encode_rows
from tests.e2e.conftest import Shell
from tests.kits.torch_alone import run_with_torch_alone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def numbers_of(text: str, n_skipped: int) -> list[list[float]]:
    _, *rows = csv.reader(io.StringIO(text))
    return [[float(cell) for cell in row[n_skipped:]] for row in rows]


def table(n: int = 120) -> pd.DataFrame:
    random = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "size": random.normal(50, 10, n).round(2),
            "price": [f"${value:,.0f}" for value in random.uniform(900, 90_000, n)],
            "town": random.choice(["Aa", "Bb", 'Cc, "west"'], n),
            "since": pd.date_range("2020-01-01", periods=n, freq="17D").strftime("%d/%m/%Y"),
            "old": random.rand(n) > 0.5,
        }
    )
    frame["y"] = 1_700_000 + 3_000 * frame["size"] + 20_000 * (frame["town"] == "Aa")
    frame.loc[::7, "size"] = np.nan
    frame.loc[::9, "town"] = None
    frame.loc[::11, "price"] = "NA"
    return frame


def test_a_regression_on_a_table_of_numbers_dates_and_categories(shell: Shell) -> None:
    frame = table()
    frame.to_csv(shell.folder / "table.csv", index=False)
    spec = hpo.StudySpec(
        name="table",
        task="tabular",
        task_options={"data": str(shell.folder / "table.csv"), "target": "y"},
        space={"learning_rate": 0.01, "depth": 1, "normalization": "batch", "optimizer": "adamw"},
        budget={"trials": 1, "epochs": 3},
        validation={"folds": 3, "seeds": 2},
    )
    hpo.run(spec, storage=f"sqlite:///{shell.folder}/hpo.db", workers=1, device="cpu")
    new = frame.head(30).drop(columns="y")
    new.loc[3, "town"], new.loc[4, "price"], new.loc[5, "since"] = "Zz", "cheap", "2021-03-04"
    new.to_csv(shell.folder / "new.csv", index=False)

    said = shell.hpo("export", "-o", "model", "--onnx")
    assert "weights-6.safetensors, model.onnx, model.json" in said
    shell.hpo("predict", "table", "new.csv", "-o", "expected.csv")
    expected = numbers_of((shell.folder / "expected.csv").read_text(), 1)
    found = numbers_of(run_with_torch_alone(shell.folder, "model/predict.py", "new.csv"), 1)
    assert found == pytest.approx(np.array(expected), rel=1e-9)

    about = json.loads((shell.folder / "model/model.json").read_text())
    inputs = encode_rows(read_csv_rows(shell.folder / "new.csv"), about["input"])
    session = onnxruntime.InferenceSession(shell.folder / "model/model.onnx")
    named = zip(("numbers", "categories"), inputs, strict=True)
    (by_onnx,) = session.run(None, {name: one.numpy() for name, one in named})
    assert by_onnx == pytest.approx(np.array(expected), rel=1e-6)
    weights = load_file(shell.folder / "model/weights-6.safetensors")
    assert all(torch.isfinite(one).all() for one in weights.values())

    card = (shell.folder / "model/README.md").read_text()
    for part in ("ensemble of 6 models", "| val_r2 |", "| test_r2 |", "| town | category | Aa, Bb"):
        assert part in card
    assert about["data"]["checksum"] in card
    assert str(shell.folder) not in card

    # What is in the way stays as it is; an earlier export is replaced.
    (shell.folder / "model/notes.txt").write_text("mine")
    refused = shell.hpo("export", "table", "-o", "model", expect=2)
    assert "model holds other files, which are not overwritten: notes.txt" in refused
    (shell.folder / "model/notes.txt").unlink()
    assert "in place of an earlier export" in shell.hpo("export", "table", "-o", "model")
    wrong = {
        ("--trial", "7"): (2, "table has no trial 7; its trials are 0 to 0"),
        ("--storage", "sqlite:///no.db"): (3, "no.db"),
    }
    for options, (code, message) in wrong.items():
        assert message in shell.hpo("export", "table", "-o", "other", *options, expect=code)
    assert not (shell.folder / "other").exists()


def test_a_folder_of_images(shell: Shell) -> None:
    random = np.random.RandomState(0)
    for name in ("dark", "light"):
        (shell.folder / "images" / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.randint(0, 128, (12, 9, 3)) + 127 * (name == "light")
            file = shell.folder / "images" / name / f"{i:02}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    spec = hpo.StudySpec(
        name="images",
        task="images",
        task_options={"data": str(shell.folder / "images"), "size": 8},
        space={"learning_rate": 0.01, "depth": 1, "width": 4},
        budget={"trials": 1, "epochs": 2},
    )
    storage = f"sqlite:///{shell.folder}/hpo.db"
    study = hpo.run(spec, storage=storage, workers=1, device="cpu")
    shell.hpo("export", "images", "-o", "model")
    data = hpo.data.image_folder(shell.folder / "images", size=8)
    expected = study.predict(data.plan.x).to_numpy()  # type: ignore[attr-defined]
    arguments = ("model/predict.py", "images")
    printed = run_with_torch_alone(shell.folder, *arguments, also=("PIL",))
    assert printed.splitlines()[0] == "file,prediction,p(dark),p(light)"
    assert printed.splitlines()[1].startswith("images/dark/00.png,")
    assert numbers_of(printed, 2) == pytest.approx(expected, abs=1e-6)

    refused = run_with_torch_alone(shell.folder, *arguments, expect=2)
    assert "reading images needs Pillow" in refused
    np.save(shell.folder / "pixels.npy", data.plan.x.numpy())  # type: ignore[attr-defined]
    printed = run_with_torch_alone(shell.folder, "model/predict.py", "pixels.npy")
    assert numbers_of(printed, 2) == pytest.approx(expected, abs=1e-6)


OWN = """
import hpo
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10, 1)

    def forward(self, x):
        y = self.layer(x)
        return 2 * y if y.sum() > 0 else y


class Own(hpo.Task):
    def data(self):
        return hpo.data.diabetes()

    def model(self, params):
        return Model()
"""


def test_a_model_that_depends_on_values_leaves_its_weights(shell: Shell) -> None:
    shell.write("own.py", OWN)
    shell.write(
        "own.toml",
        'task = "own.py:Own"\nmetric = "val_r2"\nbudget = { trials = 1, epochs = 2 }\n'
        "space = { learning_rate = 0.1 }\n",
    )
    shell.hpo("run", "own.toml", "--workers", "1")
    said = shell.hpo("export", "own", "-o", "model", "--allow", "own.py", expect=4)
    assert "no model.pt2 and no predict.py, because torch.export fails" in said
    files = {path.name for path in Path(shell.folder, "model").iterdir()}
    assert files == {"README.md", "weights.safetensors", "model.json"}
    card = (shell.folder / "model/README.md").read_text()
    assert "## Not in this export" in card
    assert 'load_file("weights.safetensors")' in card
    assert set(load_file(shell.folder / "model/weights.safetensors")) == {
        *("layer.weight", "layer.bias")
    }
