"""A model's file is all that predicting takes: no database, no table, not the study's folder."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import hpo
from hpo.errors import HpoError
from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CARS = """
name = "cars"
task = "tabular"
task_options = { data = "cars.csv", target = "sold" }
space = { learning_rate = 0.02, depth = { low = 0, high = 1 }, optimizer = "adamw" }
budget = { trials = 2, epochs = 6 }
validation = { folds = 2 }
"""


def cars(n: int = 160) -> pd.DataFrame:
    random = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "doors": random.choice(["1", "2", "3", "4", "5 or more"], n),
            "price": [f"{v:.2f}".replace(".", ",") for v in random.uniform(1, 9, n)],
            "north": 5_000_000 + random.normal(0, 2, n).round(3),
            "since": pd.date_range("2020-01-01", periods=n, freq="9D").astype(str),
            "used": (random.rand(n) > 0.5).astype(object),
        }
    )
    frame["sold"] = np.where((frame["doors"] == "1") | (frame["north"] > 5_000_001), "yes", "no")
    frame.loc[::11, "used"] = None
    return frame


def by_row(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_copy_predicts_to_the_last_digit_alike_without_table_and_database(shell: Shell) -> None:
    frame = cars()
    frame.to_csv(shell.folder / "cars.csv", index=False, sep=";")
    shell.write("cars.toml", CARS)
    shell.hpo("run", "cars.toml", "--workers", "1")
    # Rows in another order of columns, with one more; none has text among its doors.
    rows = frame[["used", "north", "doors", "price", "since"]].iloc[:6].assign(more=1)
    rows["doors"] = ["1", "2", "3", "4", "1", "2"]
    rows.to_csv(shell.folder / "new.csv", index=False, sep=";")
    expected = shell.hpo("predict", "cars", "new.csv", "-f", "csv")
    found = by_row(expected)
    assert len({row["p(yes)"] for row in found}) == 6
    assert {row["prediction"] for row in found} == {"no", "yes"}

    # An empty field more, and nothing else changes.
    gap = shell.folder / "new.csv"
    gap.write_text(gap.read_text() + ";;;;;\n")
    assert by_row(shell.hpo("predict", "cars", "new.csv", "-f", "csv"))[:6] == found

    # Whatever becomes of the table.
    model = shell.folder / json.loads(shell.hpo("best", "cars", "-f", "json"))["model"]
    with (shell.folder / "cars.csv").open("a") as table:
        table.write("6;900,5;9000000;2031-01-01;True;maybe\n" * 40)
    assert by_row(shell.hpo("predict", "cars", "new.csv", "-f", "csv"))[:6] == found
    (shell.folder / "cars.csv").unlink()
    assert by_row(shell.hpo("predict", "cars", "new.csv", "-f", "csv"))[:6] == found

    elsewhere = Shell(shell.folder / "elsewhere")
    elsewhere.folder.mkdir()
    shutil.copy(model, elsewhere.folder / "cars.pt")
    shutil.copy(gap, elsewhere.folder / "new.csv")
    (shell.folder / "hpo.db").unlink()
    copied = elsewhere.hpo("predict", "cars.pt", "new.csv", "-f", "csv")
    assert by_row(copied)[:6] == found
    in_python = hpo.load_model(elsewhere.folder / "cars.pt").predict(rows)
    assert [repr(value) for value in in_python["yes"]] == [row["p(yes)"] for row in found]
    _require_contents(elsewhere.folder / "cars.pt")

    # What it does not understand is told, and what it lacks is an error.
    odd = rows.assign(doors="6", north="far", used="perhaps")
    odd.to_csv(elsewhere.folder / "odd.csv", index=False, sep=";")
    said = " ".join(elsewhere.hpo("predict", "cars.pt", "odd.csv").split())
    assert "column doors: 6 of 6 values are no categories of the study, the first is '6'" in said
    assert "column north: 6 of 6 values are no numbers, the first is 'far'" in said
    assert "column used: 6 of 6 values are neither true nor false" in said
    rows.drop(columns=["doors", "since"]).to_csv(elsewhere.folder / "less.csv", index=False)
    said = elsewhere.hpo("predict", "cars.pt", "less.csv", expect=2)
    assert "the rows have no column doors, since" in said
    assert "no file car.pt; did you mean cars.pt?" in elsewhere.hpo(
        "predict", "car.pt", "new.csv", expect=2
    )


def _require_contents(path: Path) -> None:
    """Reads the file as somebody without hpo does."""
    saved = torch.load(path, weights_only=True)
    assert saved["format"] == "hpo-model-1"
    assert len(saved["parts"]) == len(saved["preprocessing"]["folds"]) == 2
    assert saved["data"]["classes"] == ["no", "yes"]
    assert saved["data"]["kind"] == "classification"
    assert saved["state_dict"]["0.weight"].shape[1] == saved["data"]["in_shape"][0]
    assert len(saved["data"]["checksum"]) == 16
    columns = saved["task"]["state"]["columns"]
    assert columns["doors"]["known"] == ["1", "2", "3", "4", "5 or more"]
    assert columns["price"]["decimal"] == ","
    assert saved["task"]["reference"] == "tabular"
    assert saved["trial"]["study"] == "cars"
    assert {"hpo", "torch", "python"} <= saved["versions"].keys()


OWN = """
from pathlib import Path

import numpy as np
import torch
from torch import nn
import hpo


class Halved:
    def fit(self, x, y):
        self.mean = x.mean(0)

    def transform(self, x):
        return (np.asarray(x) - self.mean) / 2


class Own(hpo.Task):
    metric = "val_r2"

    def data(self):
        x = np.loadtxt(Path(__file__).with_name("x.txt"))
        return hpo.Data.split(x[:, :2], x[:, 2], preprocess=Halved())

    def model(self, params):
        return nn.Linear(2, 1)
"""


def test_a_task_of_ones_own_predicts_where_its_code_is_allowed(shell: Shell) -> None:
    x = np.random.RandomState(0).normal(100, 3, size=(90, 3))
    x[:, 2] = x[:, :2].sum(1) - 200
    np.savetxt(shell.folder / "x.txt", x)
    shell.write("own.py", OWN)
    shell.write(
        "own.toml",
        'task = "own.py:Own"\nspace = { learning_rate = 0.1 }\n'
        "budget = { trials = 1, epochs = 5 }\n",
    )
    shell.hpo("run", "own.toml", "--workers", "1")
    np.save(shell.folder / "x.npy", x[:4, :2])
    allowed = ("x.npy", "--allow", "own.py", "-f", "csv")
    expected = shell.hpo("predict", "own", *allowed)
    model = shell.folder / json.loads(shell.hpo("best", "own", "-f", "json"))["model"]
    (shell.folder / "x.txt").unlink()
    assert shell.hpo("predict", "own", *allowed) == expected

    elsewhere = Shell(shell.folder / "elsewhere")
    elsewhere.folder.mkdir()
    for path in (model, shell.folder / "x.npy"):
        shutil.copy(path, elsewhere.folder / path.name)
    said = elsewhere.hpo("predict", model.name, "x.npy", expect=4)
    assert "the task own.py:Own may not run here" in said
    said = elsewhere.hpo("predict", model.name, *allowed, expect=2)
    assert "no file own.py" in said
    shutil.copy(shell.folder / "own.py", elsewhere.folder)
    assert elsewhere.hpo("predict", model.name, *allowed) == expected
    # Other rows than the models take.
    np.save(elsewhere.folder / "x.npy", x[:4])
    said = elsewhere.hpo("predict", model.name, *allowed, expect=2)
    assert "3 features" in said or "could not be broadcast" in said


def run(folder: Path, name: str, seed: int, root: Path) -> hpo.Study:
    spec = hpo.StudySpec(
        name="a",
        task="iris",
        space={"learning_rate": hpo.Float(0.001, 0.1, log=True), "depth": 1, "width": 16},
        budget={"trials": 2, "epochs": 2},
        sampler="random",
        pruner="none",
        seed=seed,
    )
    storage = f"sqlite:///{folder}/{name}.db"
    return hpo.run(spec, storage=storage, workers=1, device="cpu", artifacts=str(root))


def test_two_databases_share_a_folder_and_no_file(tmp_path: Path) -> None:
    root, x = tmp_path / "root", np.ones((3, 4), dtype=np.float32)
    first = run(tmp_path, "first", 0, root)
    model, expected = first.best.model, first.predict(x)
    second = run(tmp_path, "second", 1, root)
    assert model is not None
    assert model.exists()
    assert first.predict(x).equals(expected)
    assert second.best.model not in (None, model)
    assert not second.predict(x).equals(expected)

    # Somebody copies the one's file over the other's.
    other = second.best.model
    assert other is not None
    own = other.read_bytes()
    shutil.copy(model, other)
    with pytest.raises(HpoError, match=r"is not the model of trial \d of a; it is trial \d of a"):
        second.predict(x)
    other.write_bytes(own)
    # A file as older versions wrote it: weights, params and what they reached.
    saved = torch.load(other, weights_only=True)
    expected = second.predict(x)
    older = {key: saved[key] for key in ("state_dict", "params", "epoch", "metrics")}
    torch.save(older, other)
    assert second.predict(x).equals(expected)
    torch.save({**older, "metrics": {"val_auroc": 0.5}}, other)
    with pytest.raises(HpoError, match="is not the model of trial"):
        second.predict(x)


def test_targets_far_from_zero_keep_their_digits(shell: Shell) -> None:
    random = np.random.RandomState(0)
    x = random.normal(size=160)
    y = 1_700_000_000 + 30 * x + random.normal(0, 3, 160)
    pd.DataFrame({"x": x, "y": y}).to_csv(shell.folder / "times.csv", index=False)
    shell.write(
        "times.toml",
        'task = "tabular"\ntask_options = { data = "times.csv", target = "y" }\n'
        "validation = { folds = 1 }\nbudget = { trials = 2, epochs = 20 }\n"
        "space = { learning_rate = 0.03, depth = 0, batch_size = 16 }\n",
    )
    shell.hpo("run", "times.toml", "--workers", "1")
    assert json.loads(shell.hpo("best", "times", "-f", "json"))["value"] > 0.9
    rows = by_row(shell.hpo("predict", "times", "times.csv", "-f", "csv"))
    predicted = np.array([float(row["prediction"]) for row in rows])
    assert np.abs(predicted - y).mean() < 6
    said = shell.hpo("predict", "times", "times.csv").split("\n")[1:21]
    shown = [float(line.split()[1]) for line in said]
    assert np.abs(np.array(shown) - predicted[:20]).max() < 0.01
