"""What docs/watching.md shows: a study is watched while workers work on it."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import LIMIT_S
from tests.promises.blocks import ROOT, all_blocks
from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e

PAGE = "docs/watching.md"


@pytest.mark.shows(f"{PAGE}#Watching studies", f"{PAGE}#In scripts")
def test_a_study_is_watched_until_it_has_ended(installed: Installed) -> None:
    watch, top = all_blocks()[f"{PAGE}#Watching studies"].commands
    once, watch_json, top_json = all_blocks()[f"{PAGE}#In scripts"].commands
    started = installed.start("run", "digits-mlp", "--trials", "30")
    epochs = "SELECT * FROM hpo_lease WHERE epoch > 0"
    installed.until(lambda: installed.query(epochs), "a trial has reported")
    page = json.loads(installed.bash(watch_json))
    assert page["state"] == "active"
    assert page["n_trials"] == 30
    assert {each["state"] for each in page["workers"]} == {"live"}
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    documented = {key for key in page if f"`{key}`" in text}
    assert documented == page.keys()
    studies = json.loads(installed.bash(top_json))["studies"]
    assert [(study["name"], study["state"]) for study in studies] == [("digits-mlp", "active")]
    # It exits by itself, and leaves the last page.
    lines = installed.terminal(watch, columns=80)
    assert any("digits-mlp · done · budget" in line for line in lines), lines
    assert any("30/30 trials" in line for line in lines)
    assert started.wait(LIMIT_S) == 0
    assert "30/30 trials" in installed.bash(once)
    assert "1 study, 0 active · 0 workers" in installed.bash(f"{top} --once")
