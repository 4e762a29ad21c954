"""docs/confirm.md: a winner over five seeds, with nothing but what the page says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from tests.promises.blocks import all_blocks
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PAGE = "docs/confirm.md#Confirming a winner"


@pytest.mark.shows(PAGE)
def test_a_winner_over_five_seeds(installed: Installed) -> None:
    block = all_blocks()[PAGE]
    search, confirm = block.commands
    assert "test" not in installed.bash(search)
    printed = installed.bash(confirm)
    assert "15/15 trials" in printed
    assert sum(" 5/5" in line for line in printed.splitlines()) == 3
    shown = [line.split() for line in block.shown if line.startswith("trial  search")]
    assert shown[0] in [line.split() for line in printed.splitlines()]

    found = json.loads(installed.hpo("confirm", "digits-mlp", "-f", "json"))
    assert found["sentence"] in printed
    values = {t["number"]: [run["value"] for run in t["runs"]] for t in found["trials"]}
    best = json.loads(installed.hpo("best", "digits-mlp", "-f", "json"))
    assert best["number"] in values
    seeds = [[run["seed"] for run in trial["runs"]] for trial in found["trials"]]
    assert seeds == [found["seeds"]] * 3
    assert len(set(found["seeds"])) == 5

    # What the page says of intervals and tests, calculated anew.
    order = sorted(values, key=lambda number: -np.mean(values[number]))
    assert found["winner"] == order[0] == found["trials"][0]["number"]
    for trial in found["trials"]:
        own, one = values[trial["number"]], trial["estimate"]
        interval = stats.t.interval(0.95, 4, np.mean(own), stats.sem(own))
        assert (one["low"], one["high"]) == pytest.approx(interval)
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    ps = [stats.ttest_rel(values[a], values[b]).pvalue for a, b in pairs]
    rank = np.argsort(ps)
    by_holm = dict(
        zip(rank, np.maximum.accumulate(np.minimum(1, np.sort(ps) * [3, 2, 1])), strict=True)
    )
    behind = [trial["behind"]["p_corrected"] for trial in found["trials"][1:]]
    assert behind == pytest.approx([by_holm[i] for i, (a, _) in enumerate(pairs) if a == order[0]])
    assert found["is_confirmed"] == all(p < 0.05 for p in behind)
    assert ("confirmed as the best" in printed) == found["is_confirmed"]
    assert ("within the noise" in printed) == any(p >= 0.05 for p in behind)
    assert 0.9 < found["test"]["test_accuracy"]["mean"] <= 1
