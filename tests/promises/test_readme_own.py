"""What README and docs show of a user's own models, tables and study files."""

from __future__ import annotations

import json

import pytest

from tests.promises.blocks import Block, all_blocks, masked
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e


@pytest.mark.shows("README.md#Your own model", "README.md#Your own model/2")
def test_a_model_of_ones_own(installed: Installed) -> None:
    blocks = all_blocks()
    installed.write("my_file.py", blocks["README.md#Your own model"].text)
    installed.write("own.toml", blocks["README.md#Your own model/2"].text)
    checked = installed.hpo("check", "own.toml")
    assert checked.startswith("own is valid")
    assert "maximize val_accuracy" in checked
    printed = installed.hpo("run", "own.toml")
    assert "20/20 trials" in printed
    assert "warning" not in printed
    best = json.loads(installed.hpo("best", "own", "-f", "json"))
    assert 0.96 <= best["value"] <= 1
    assert installed.states().keys() <= {"COMPLETE", "PRUNED"}


@pytest.mark.shows("docs/tabular.md#Tabular data, without Python")
def test_a_table_of_ones_own(installed: Installed, block: Block) -> None:
    months = [(7 * n) % 60 for n in range(240)]
    rows = [f"{m},{'yearly' if m % 3 else 'monthly'},{'yes' if m < 24 else 'no'}" for m in months]
    installed.write("churn.csv", "\n".join(["months,contract,churned", *rows, ""]))
    installed.write("churn.toml", block.text)
    assert installed.hpo("check", "churn.toml").startswith("churn is valid")
    printed = installed.hpo("run", "churn.toml", "--trials", "6")
    assert "6/6 trials" in printed
    best = json.loads(installed.hpo("best", "churn", "-f", "json"))
    assert best["metric"] == "val_accuracy"
    assert 0.9 <= best["value"] <= 1


@pytest.mark.shows("docs/tasks.md#Tasks")
def test_the_task_that_names_its_metric(installed: Installed, block: Block) -> None:
    installed.write("my_file.py", block.text)
    installed.write(
        "own.toml",
        'task = "my_file.py:Digits"\nbudget = { trials = 4, epochs = 9 }\n'
        "[space]\nlearning_rate = { low = 0.05, high = 0.3, log = true }\n"
        "batch_size = 32\nwidth = 64\ndepth = { low = 1, high = 2 }\n",
    )
    printed = installed.hpo("run", "own.toml")
    assert "4/4 trials" in printed
    best = json.loads(installed.hpo("best", "own", "-f", "json"))
    assert 0.85 <= best["value"] <= 1


@pytest.mark.shows("docs/tasks.md#Data")
def test_the_ways_to_data(installed: Installed, block: Block) -> None:
    around = """\
import numpy as np
from sklearn.preprocessing import StandardScaler
import hpo

x, y = np.random.default_rng(0).normal(5, 3, (60, 4)), np.arange(60) % 3
x_train, y_train, x_val, y_val, x_test, y_test = x[:40], y[:40], x[40:50], y[40:50], x[50:], y[50:]
found = [
"""
    lines = [line.partition("  #")[0] for line in block.text.splitlines()]
    script = f"{around}{''.join(f'{line},{chr(10)}' for line in lines)}]\n"
    printed = installed.python(script + "print(*[data.n_rows for data in found])")
    assert printed.split() == ["60", "60", "60", "1797"]


@pytest.mark.shows("docs/tasks.md#From a PyTorch `Dataset`")
def test_data_from_a_dataset_of_pytorch(installed: Installed, block: Block) -> None:
    before = """\
import hpo
import torch
from torch.utils.data import TensorDataset

dataset = TensorDataset(torch.randn(60, 4), torch.arange(60) % 3)
"""
    printed = installed.python(f"{before}{block.text}print(data.n_rows, *data.classes)\n")
    assert printed.split() == ["60", "0", "1", "2"]


@pytest.mark.shows("docs/tasks.md#Augmentation")
def test_the_task_with_an_augmentation_of_its_own(installed: Installed, block: Block) -> None:
    task = all_blocks()["docs/tasks.md#Tasks"].text
    installed.write("my_file.py", f"import torch\n{task}\n\n{block.text}")
    installed.write(
        "own.toml",
        'task = "my_file.py:Scaled"\nbudget = { trials = 2, epochs = 5 }\n'
        "[space]\nlearning_rate = { low = 0.05, high = 0.3, log = true }\n"
        "batch_size = 32\nwidth = 64\ndepth = 1\nscale = { low = 0.0, high = 0.5 }\n",
    )
    assert installed.hpo("check", "own.toml").startswith("own is valid")
    assert "2/2 trials" in installed.hpo("run", "own.toml")
    best = json.loads(installed.hpo("best", "own", "-f", "json"))
    assert 0.8 <= best["value"] <= 1


@pytest.mark.shows("docs/study-files.md#Study files")
def test_the_study_file_with_everything(installed: Installed, block: Block) -> None:
    installed.write("s.toml", block.text)
    assert installed.hpo("check", "s.toml").startswith("digits-mlp is valid")
    printed = installed.hpo("run", "s.toml", "--trials", "4", "--epochs", "3")
    assert "4/4 trials" in printed
    trials = json.loads(installed.hpo("trials", "digits-mlp", "-f", "json"))
    for trial in trials:
        assert ("momentum" in trial["params"]) == (trial["params"]["optimizer"] == "sgd")


@pytest.mark.shows(
    "docs/study-files.md#`[space]`", "docs/study-files.md#`[sampler]` and `[pruner]`"
)
def test_the_pieces_of_study_files(installed: Installed) -> None:
    blocks = all_blocks()
    space = blocks["docs/study-files.md#`[space]`"].text
    sampler = blocks["docs/study-files.md#`[sampler]` and `[pruner]`"].text
    head = 'task = "digits-mlp"\nbudget = { trials = 6, epochs = 2 }\n'
    fixed = "learning_rate = 0.01\nbatch_size = 64\n"
    installed.write("s.toml", f"{head}{sampler}[space]\n{fixed}{space}")
    assert "6/6 trials" in installed.hpo("run", "s.toml")
    for trial in json.loads(installed.hpo("trials", "s", "-f", "json")):
        params = trial["params"]
        is_sgd = params["optimizer"] == "sgd"
        assert ("momentum" in params) == ("nesterov" in params) == is_sgd
        assert ("beta1" in params) == (not is_sgd)


@pytest.mark.shows("docs/study-files.md#Mistakes in a file")
def test_mistakes_are_told_at_once(installed: Installed, block: Block) -> None:
    show, run = block.commands
    n_file = block.shown.index(next(line for line in block.shown if line.startswith("error:")))
    installed.write(show.removeprefix("cat "), "\n".join(block.shown[:n_file]))
    printed = installed.bash(run, expect=2)
    assert [line.strip() for line in printed.splitlines()] == block.shown[n_file:]
    assert [path.name for path in installed.folder.iterdir()] == ["broken.toml"]


@pytest.mark.shows("docs/study-files.md#From Python")
def test_a_study_from_python(installed: Installed, block: Block) -> None:
    printed = installed.python(block.text)
    value, *_ = printed.split()
    assert 0.95 <= float(value) <= 1
    _, *chances = (line.split()[1:] for line in printed.splitlines()[-4:])
    assert [row.index(max(row, key=float)) for row in chances] == [0, 1, 2]
    assert sum(installed.states().values()) == 20


@pytest.mark.shows("docs/search.md#Why it did what it did")
def test_replay_tells_why(installed: Installed, block: Block) -> None:
    run, replay = block.commands
    assert "12/12 trials" in installed.bash(run)
    printed = installed.bash(replay).splitlines()
    assert printed[0].split() == block.shown[0].split()
    assert masked(printed[1].strip()) == masked(block.shown[1])
    assert all(line.split()[1] == "2" for line in printed[1:])
    assert "all are the same" in installed.hpo("replay", "small", "--check")
