"""optuna-dashboard reads the database that hpo has written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.e2e.conftest import Shell
from tests.e2e.test_run import STUDY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())


def _answers(url: str) -> bool:
    try:
        _get(url)
    except urllib.error.URLError:
        return False
    return True


def _rendered(url: str, shell: Shell) -> str:
    """Returns the page as a browser shows it, after its scripts have run."""
    browser = shutil.which("chromium")
    if browser is None:
        assert "CI" not in os.environ, "CI needs chromium"
        pytest.skip("chromium is not installed")
    switches = ["gpu", "quic", "background-networking", "component-update", "sync"]
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        *(f"--disable-{name}" for name in switches),
        f"--user-data-dir={shell.folder / 'browser'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_dashboard_shows_studies_trials_and_curves(shell: Shell) -> None:
    shell.write("small.toml", STUDY.format(trials=4, epochs=3))
    shell.hpo("run", "small.toml", "--workers", "1")
    port = _free_port()
    process = shell.start("dashboard", "--port", str(port))
    api = f"http://127.0.0.1:{port}/api"
    shell.until(lambda: _answers(f"{api}/studies"), "the dashboard to answer")

    (summary,) = _get(f"{api}/studies")["study_summaries"]
    assert summary["study_name"] == "small"
    assert summary["directions"] == ["maximize"]
    detail = _get(f"{api}/studies/{summary['study_id']}?after=0")
    trials = detail["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert {trial["state"] for trial in trials} <= {"Complete", "Pruned"}
    complete = [trial for trial in trials if trial["state"] == "Complete"]
    assert complete
    for trial in complete:
        assert [point["step"] for point in trial["intermediate_values"]] == [1, 2, 3]
        assert {param["name"] for param in trial["params"]} >= {"learning_rate", "momentum"}

    page = _rendered(f"http://127.0.0.1:{port}/dashboard/studies/{summary['study_id']}", shell)
    assert "small" in page
    assert "Hyperparameter Importance" in page

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode in (0, 130), output
    assert "Traceback" not in output
