"""Commands as studies: programs that know nothing of hpo, tuned, killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import psutil
import pytest

from tests.e2e.conftest import Shell

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

N_EPOCHS, N_KILLS = 16, 10
SCRIPT = """
import argparse, os, time

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--out")
args = parser.parse_args()
saved = os.path.join(args.out, "saved")
epoch = int(open(saved).read()) if os.path.exists(saved) else 0
while epoch < 16:
    time.sleep(0.15)
    epoch += 1
    with open(saved + ".new", "w") as file:
        file.write(str(epoch))
    os.replace(saved + ".new", saved)
    print(f"epoch {epoch}: loss {args.lr / epoch:.4f}", flush=True)
"""
PROGRAM = """
#include <cstdio>
#include <cstdlib>
int main(int argc, char** argv) {
    double x = std::atof(argv[1] + 2);
    for (int epoch = 1; epoch <= 5; ++epoch) {
        std::printf("epoch %d loss %f\\n", epoch, (x - 2) * (x - 2) + 1.0 / epoch);
        std::fflush(stdout);
    }
}
"""
_EPOCHS = "SELECT trial_id, step FROM trial_intermediate_values"


def test_a_script_whose_worker_is_killed_ten_times_loses_no_epoch(shell: Shell) -> None:
    shell.write("train.py", SCRIPT)
    line = [
        *("run", "--metric", "loss", "--trials", "2", "--epochs", str(N_EPOCHS)),
        *("--pattern", r"epoch (?P<epoch>\d+): loss (?P<loss>\S+)", "--workers", "1"),
        *("--", "python", "train.py", "--lr", "~log(1e-3, 1)", "--out", "{trial_dir}"),
    ]
    process = shell.start(*line)
    n_killed = n_seen = 0

    def kill_another() -> bool:
        nonlocal n_killed, n_seen
        # Each worker dies after a new epoch.
        if n_killed < N_KILLS and len(shell.query(_EPOCHS)) > n_seen:
            alive = "SELECT pid FROM hpo_worker WHERE ended_at IS NULL"
            for (pid,) in shell.query(alive):
                os.kill(pid, signal.SIGKILL)
                n_killed += 1
                n_seen = len(shell.query(_EPOCHS))
        return process.poll() is not None

    shell.until(kill_another, "the end of the run")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "2/2 trials" in output
    assert n_killed >= N_KILLS
    steps = shell.query(_EPOCHS)
    by_trial = {trial: sorted(step for t, step in steps if t == trial) for trial, _ in steps}
    assert all(found == list(range(1, len(found) + 1)) for found in by_trial.values())
    assert max(map(len, by_trial.values())) == N_EPOCHS
    assert not [p for p in psutil.process_iter() if "train.py" in " ".join(_words(p))]


def _words(process: psutil.Process) -> list[str]:
    try:
        is_ours = "--out" in process.cmdline()
        return process.cmdline() if is_ours else []
    except psutil.Error:
        return []


@pytest.mark.parametrize("language", ["sh", "c++"])
def test_a_program_in_any_language_is_tuned(shell: Shell, language: str) -> None:
    if language == "sh":
        shell.write("train.sh", "for n in 1 2 3 4 5; do echo epoch $n loss ${1#x=}$n; done")
        command = ["sh", "train.sh", "x=~uniform(0, 4)"]
    else:
        compiler = shutil.which("g++")
        if compiler is None:
            pytest.skip("there is no C++ compiler")
        source = shell.write("train.cpp", PROGRAM)
        subprocess.run([compiler, "-o", shell.folder / "train", source], check=True)
        command = ["./train", "x=~uniform(0, 4)"]
    output = shell.hpo(
        *("run", "--metric", "loss", "--trials", "8", "--epochs", "5", "--name", "p"),
        *("--pattern", r"epoch (?P<epoch>\d+) loss (?P<loss>\S+)", "--", *command),
    )
    assert "8/8 trials" in output
    trials = json.loads(shell.hpo("trials", "p", "-f", "json"))
    assert {trial["state"].upper() for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert len(shell.query(_EPOCHS)) <= 40
    assert shell.hpo("logs", "p", "0", "-n", "1").startswith("epoch 5 loss ")


def test_a_command_may_have_several_metrics(shell: Shell) -> None:
    shell.write("t.sh", "for n in 1 2 3; do echo $n loss $n${1#x=} size 5; done")
    output = shell.hpo(
        *("run", "--metric", "loss", "--direction", "minimize"),
        *("--metric", "size", "--direction", "maximize", "--trials", "3", "--epochs", "3"),
        *("--pattern", r"(?P<epoch>\d+) loss (?P<loss>\S+) size (?P<size>\S+)"),
        *("--", "sh", "t.sh", "x=~uniform(0, 1)"),
    )
    assert "3/3 trials" in output
    for trial in json.loads(shell.hpo("trials", "t", "-f", "json")):
        # Of the epoch with the best first one.
        loss = float(f"1{trial['params']['x']}")
        assert trial["values"] == {"loss": pytest.approx(loss), "size": 5.0}
