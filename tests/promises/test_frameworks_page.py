"""The page of frameworks: its examples run, and its excerpts are theirs."""

from __future__ import annotations

import pytest

from tests.kits.framework_scripts import TRANSFORMERS
from tests.promises.blocks import ROOT, all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]
PAGE = "docs/frameworks.md"


@pytest.mark.shows(f"{PAGE}#Lightning, Transformers, Accelerate")
@pytest.mark.parametrize("framework", ["lightning", "transformers", "accelerate"])
def test_an_example_is_paused_and_resumed_by_the_default_search(
    installed: Installed, framework: str
) -> None:
    name = f"{framework}_script"
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    installed.write(f"{name}.py", text)
    block = all_blocks()[f"{PAGE}#Lightning, Transformers, Accelerate"]
    (command,) = (line for line in block.commands if name in line)
    printed = installed.bash(command)
    assert "6/6 trials" in printed
    assert "warning" not in printed
    assert "continued up to epoch" in installed.hpo("replay", name)
    assert installed.states().keys() <= {"COMPLETE", "PRUNED"}
    ((best,),) = installed.query("SELECT max(value) FROM trial_values")
    assert 0.9 <= best <= 1


@pytest.mark.shows(
    f"{PAGE}#Lightning",
    f"{PAGE}#Transformers",
    f"{PAGE}#Accelerate",
    f"{PAGE}#Trainer.hyperparameter_search",
)
def test_an_excerpt_is_of_a_script_that_the_tests_run() -> None:
    blocks = all_blocks()
    for heading in ("Lightning", "Transformers", "Accelerate"):
        script = (ROOT / "examples" / f"{heading.lower()}_script.py").read_text(encoding="utf-8")
        for line in blocks[f"{PAGE}#{heading}"].text.splitlines():
            assert line in script
    searched = "".join(TRANSFORMERS.split())
    for line in blocks[f"{PAGE}#Trainer.hyperparameter_search"].text.splitlines():
        assert "".join(line.split()).rstrip(",") in searched
