"""What docs/migrating.md shows to people who come from another tool."""

from __future__ import annotations

import pytest

from hpo.spec import toml
from tests.promises.blocks import Block, all_blocks
from tests.promises.conftest import Installed

PAGE = "docs/migrating.md"


@pytest.mark.e2e
@pytest.mark.shows(f"{PAGE}#Optuna", f"{PAGE}#Optuna/2")
def test_a_script_of_optunas_runs_unchanged(installed: Installed) -> None:
    script, line = all_blocks()[f"{PAGE}#Optuna"], all_blocks()[f"{PAGE}#Optuna/2"]
    installed.write("train.py", script.text)
    assert "Best is trial" in installed.bash("python train.py")
    (command,) = line.commands
    printed = installed.bash(command)
    assert "creates its study with direction maximize: taken over" in printed
    assert "30/30 trials" in printed


@pytest.mark.e2e
@pytest.mark.shows(f"{PAGE}#Ray Tune/2", f"{PAGE}#Ray Tune/3")
def test_a_trainable_as_an_objective(installed: Installed) -> None:
    script, file = (all_blocks()[f"{PAGE}#Ray Tune/{n}"] for n in (2, 3))
    installed.write("train.py", script.text)
    installed.write("study.toml", file.text)
    assert "9/9 trials" in installed.bash("hpo run study.toml --trials 9")
    (n_epochs,) = installed.query("SELECT max(step) FROM trial_intermediate_values")[0]
    assert n_epochs == 9


@pytest.mark.shows(f"{PAGE}#W&B sweeps/2")
def test_a_sweep_as_a_study(block: Block) -> None:
    spec = toml.loads(block.text)
    assert spec.directions == ("maximize",)
    assert (spec.budget.trials, spec.budget.epochs) == (60, 27)
    assert spec.pruner.options == {"type": "stop", "min_resource": 3}


@pytest.mark.shows(f"{PAGE}#Lightning")
def test_a_script_of_lightnings_as_a_study(block: Block) -> None:
    spec = toml.loads(block.text)
    assert spec.directions == ("minimize",)
    assert spec.report.csv == "lightning_logs/version_*/metrics.csv"
