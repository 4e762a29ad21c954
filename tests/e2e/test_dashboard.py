"""optuna-dashboard reads the database that hpo has written."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
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


def _ask(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Sends a request with these headers and no others, and returns status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    given = {"Host": f"localhost:{port}", **(headers or {})}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(None if body is None else body.encode())
    response = connection.getresponse()
    answer = response.status, response.read().decode(errors="replace")
    connection.close()
    return answer


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
    assert _ask(port, "DELETE", f"/api/studies/{summary['study_id']}")[0] == 403
    assert "small" in shell.hpo("ls")

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode in (0, 130), output
    assert "Traceback" not in output


JSON = {"Content-Type": "application/json"}
ENDLESS = """
import time


def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(3):
        time.sleep(0.01)
        trial.report(x, step)
        trial.set_user_attr("step", step)
    return x
"""


def test_the_dashboard_answers_to_its_own_host_and_says_little_of_wrong_requests(
    shell: Shell,
) -> None:
    shell.write("o.py", ENDLESS)
    shell.hpo("run", "--objective", "o.py:objective", "--trials", "1", "--workers", "1")
    process = shell.start("dashboard", "--allow-edit", "--port", str(port := _free_port()))
    shell.until(lambda: _answers(f"http://localhost:{port}/api/studies"), "the dashboard")

    own = ["localhost", "127.0.0.1", "[::1]", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"]
    for host in own:
        assert _ask(port, "GET", "/api/studies", headers={"Host": host})[0] == 200, host
    others = ["evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.nip.io"]
    for host in [
        *others,
        "",
        f"localhost:{port + 1}",
        "localhost@evil.example",
        "[::1",
        "10.0.0.1",
    ]:
        for method in ("GET", "DELETE"):
            status, body = _ask(port, method, "/api/studies/1", headers={"Host": host})
            assert (status, list(json.loads(body))) == (403, ["reason"]), host
    origin = {"Origin": f"http://evil.example:{port}"}
    assert _ask(port, "DELETE", "/api/studies/1", headers=origin)[0] == 403
    assert _ask(port, "POST", "/api/studies", "study_name=x", JSON)[0] == 400
    assert _ask(port, "POST", "/api/studies", "[]", JSON)[0] == 400
    assert _ask(port, "POST", "/api/studies", '{"study_name": "x"}')[0] == 415
    assert _ask(port, "POST", "/api/studies")[0] == 415
    assert (
        _ask(port, "PUT", "/api/studies/1/note", "x" * 9, {"Content-Type": "text/plain"})[0] == 415
    )
    for path in ("/favicon.ico", "/static/bundle.js", "/dashboard"):
        assert _ask(port, "GET", path)[0] in (200, 404), path
    # What the dashboard's own code cannot answer is told in one line.
    assert _ask(port, "GET", "/api/studies/7/plot/slice")[0] == 500
    with socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        rude.recv(100)
    assert [
        s["study_name"] for s in _get(f"http://localhost:{port}/api/studies")["study_summaries"]
    ]

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert "Traceback" not in output
    assert "File " not in output
    told = [line for line in output.splitlines() if line.startswith("warning:")]
    assert len(told) == 1
    assert "GET '/api/studies/7/plot/slice'" in told[0]


def test_a_study_is_renamed_and_deleted_in_the_dashboard_while_its_workers_work(
    shell: Shell,
) -> None:
    shell.write("o.py", ENDLESS)
    run = shell.start(
        "run", "--objective", "o.py:objective", "--trials", "100000", "--workers", "2"
    )
    shell.until(lambda: shell.states().get("COMPLETE", 0) > 3, "trials")
    process = shell.start("dashboard", "--allow-edit", "--port", str(port := _free_port()))
    shell.until(lambda: _answers(f"http://localhost:{port}/api/studies"), "the dashboard")
    ((study_id,),) = shell.query("SELECT study_id FROM studies")
    rename = f"/api/studies/{study_id}/rename"

    ((trial_id,),) = shell.query("SELECT max(trial_id) FROM trials")
    tell = f"/api/trials/{trial_id}/tell"
    assert _ask(port, "POST", tell, '{"state": "fail"}', JSON)[0] == 409
    assert _ask(port, "POST", rename, '{"study_name": "-x"}', JSON)[0] == 400
    assert _ask(port, "POST", rename, '{"study_name": 3}', JSON)[0] == 400
    missing = f"/api/studies/{study_id + 7}/rename"
    assert _ask(port, "POST", missing, '{"study_name": "b"}', JSON)[0] == 404
    status, body = _ask(port, "POST", rename, '{"study_name": "new name"}', JSON)

    assert (status, json.loads(body)["study_id"]) == (201, study_id)
    assert json.loads(body)["study_name"] == "new name"
    page = _rendered(f"http://localhost:{port}/dashboard", shell)
    assert "new name" in page
    n = shell.states()["COMPLETE"]
    (pid, *_) = [pid for (pid,) in shell.query("SELECT pid FROM hpo_worker WHERE ended_at IS NULL")]
    # One that is started in a dead one's place finds the study, too.
    os.kill(pid, signal.SIGKILL)
    shell.until(lambda: shell.query("SELECT count(*) FROM hpo_worker") == [(3,)], "a new worker")
    shell.until(lambda: shell.states()["COMPLETE"] > n + 20, "trials of the renamed study")
    assert "new name" in shell.hpo("ls")
    assert "renamed" in shell.hpo("show", "new name")
    assert run.poll() is None

    assert _ask(port, "DELETE", f"/api/studies/{study_id}")[0] == 204
    output, _ = run.communicate(timeout=180)

    assert run.returncode == 3, output
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, output
    assert "it was deleted" in errors[0]
    assert "Traceback" not in output
    left = shell.query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    )
    kept = {"version_info", "alembic_version", "hpo_alembic_version", "hpo_last_id"}
    for (name,) in left:
        if name not in kept:
            assert shell.query(f"SELECT count(*) FROM {name}") == [(0,)], name
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert "Traceback" not in output


def test_other_machines_need_the_token(shell: Shell) -> None:
    shell.write("o.py", ENDLESS)
    shell.hpo("run", "--objective", "o.py:objective", "--trials", "1", "--workers", "1")
    process = shell.start("dashboard", "--host", "0.0.0.0", "--port", str(port := _free_port()))
    shell.until(lambda: _ask_or_none(port) == 401, "the dashboard")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    (token,) = re.findall(rf"http://\S+:{port}/\?token=(\S+)", output)
    assert len(token) > 40
    assert "unencrypted" in output

    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "dashboard", "--port", str(port := _free_port())],
        cwd=shell.folder,
        env={**shell.environment, "HPO_DASHBOARD_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shell.processes.append(process)
    shell.until(lambda: _ask_or_none(port) == 401, "the dashboard")
    bearer = {"Authorization": f"Bearer {token}"}
    assert _ask(port, "GET", "/api/studies", headers=bearer)[0] == 200
    assert _ask(port, "GET", "/healthz") == (200, "ok\n")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert token not in output


def _ask_or_none(port: int) -> int | None:
    try:
        return _ask(port, "GET", "/api/studies")[0]
    except OSError:
        return None
