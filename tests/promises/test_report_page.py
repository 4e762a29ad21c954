"""docs/report.md: a page for readers without hpo, from the commands as they are shown."""

from __future__ import annotations

import json
import re
from importlib import metadata

import pytest

from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.mark.shows("docs/report.md#The report of a study")
def test_a_page_for_others_says_what_the_study_found(installed: Installed) -> None:
    block = all_blocks()["docs/report.md#The report of a study"]
    run, report = block.commands
    installed.bash(run)
    assert installed.bash(report).strip() == block.shown[-1]
    page = (installed.folder / "digits-mlp-report.html").read_text("utf-8")
    # One file: it loads nothing.
    assert not re.search(r"<(script|link|img|iframe)\b|\bsrc=|@import|url\((?!#)", page)
    best = json.loads(installed.hpo("best", "digits-mlp", "-f", "json"))
    assert f"rial {best['number']} is the best of" in page
    assert f"{best['value']:.4f}" in page
    assert f"{best['params']['learning_rate']:.4g}" in page
    assert f"test_accuracy {best['test']['test_accuracy']:.4f}" in page
    counted = installed.query(
        "SELECT count(DISTINCT t.trial_id), count(e.epoch) FROM trials t "
        "LEFT JOIN hpo_epoch e ON e.trial_id = t.trial_id WHERE t.state = 'PRUNED'"
    )
    n, n_epochs = counted[0]
    assert f"after {n_epochs} of {27 * n} epochs" in page
    assert f"torch {metadata.version('torch')}" in page
    assert re.search(r"1,797 samples, checksum [0-9a-f]{16}", page)
    spec = re.search(r"<h3>Study file</h3>\s*<pre>(.*?)</pre>", page, re.DOTALL)
    assert spec is not None
    # What the page gives as the study file is the study.
    again = spec[1].replace("&#34;", '"').replace("&gt;", ">").replace("&#39;", "'")
    installed.write("again.toml", again)
    assert "12/12 trials" in installed.hpo("run", "again.toml")
