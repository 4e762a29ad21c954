"""docs/plots.md: every plot of a study that has run, with defaults."""

from __future__ import annotations

import shutil
from typing import Final

import pytest

from tests.promises.blocks import ROOT, all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

_PLOTS: Final = "docs/plots.md#Plots"


@pytest.mark.shows(_PLOTS)
def test_a_study_is_plotted_as_the_page_says(installed: Installed) -> None:
    shutil.copytree(ROOT / "studies", installed.folder / "studies", dirs_exist_ok=True)
    block = all_blocks()[_PLOTS]
    run, *plots = block.commands
    assert "30/30 trials" in installed.bash(run)
    assert [installed.bash(command).strip() for command in plots] == block.shown
    folder = installed.folder
    assert (folder / "digits-mlp-importance.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "parallel.html").read_text()
    assert "Plotly.newPlot" in page
    assert "learning_rate" in page
    assert "<svg" in (folder / "timeline.svg").read_text()
    for kind in ("history", "curves", "slice", "budget"):
        installed.hpo("plot", kind)
        assert (folder / f"digits-mlp-{kind}.png").is_file()
