"""What docs/resources.md shows of the GPUs, cores and memory of a trial."""

from __future__ import annotations

import pytest

from hpo.spec import toml
from hpo.spec.sections import ResourceSpec
from tests.promises.blocks import ROOT, Block, masked
from tests.promises.conftest import Installed

STUDY = """\
task = "digits-mlp"
budget = { trials = 2, epochs = 1 }
space = { learning_rate = 0.01, depth = { low = 1, high = 2 } }
"""


@pytest.mark.shows("docs/resources.md#GPUs, cores and memory of a trial")
def test_the_section_of_a_file(block: Block) -> None:
    spec = toml.loads(f'name = "x"\n{STUDY}\n{block.text}')
    assert spec.resources == ResourceSpec(gpus=0.5, cpus=4, memory="16GiB")


@pytest.mark.e2e
@pytest.mark.shows("docs/resources.md#How many workers a machine has")
def test_the_first_line_shows_the_workers(installed: Installed, block: Block) -> None:
    installed.write("study.toml", f'name = "digits"\n{STUDY}')
    (command,) = block.commands
    shown = [masked(line.replace("worker on", "workers on")) for line in block.shown]
    printed = masked(installed.bash(command).replace("worker on", "workers on"))
    assert printed.splitlines()[: len(shown)] == shown


@pytest.mark.e2e
@pytest.mark.shows("docs/resources.md#How many workers a machine has/2")
def test_a_small_machine_says_what_is_missing(installed: Installed, block: Block) -> None:
    installed.write("large.toml", f"{STUDY}[resources]\ngpus = 1\ncpus = 512\n")
    (command,) = block.commands
    printed = installed.bash(f"CUDA_VISIBLE_DEVICES= {command}", expect=5)
    assert [masked(line.strip()) for line in printed.splitlines()] == [*map(masked, block.shown)]


@pytest.mark.shows("docs/resources.md#Several GPUs: torchrun")
def test_the_command_is_that_of_the_example(block: Block) -> None:
    shown = toml.loads(f'name = "x"\n{block.text}')
    example = toml.load(ROOT / "examples" / "ddp_script.toml")
    assert shown.command is not None
    assert shown.command.replace("train.py", "ddp_script.py") == example.command
    assert shown.resources == ResourceSpec(gpus=2)
