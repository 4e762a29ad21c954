"""One small CNN, brought to hpo in five ways: the value that it reaches, the time, and kills.

Each way is a study of trials with the same params, on one worker. Its time is that from the start
of the first trial to the end of the last, for each trial, as the database has it, beside the same
loop without any tool, in turns. A task may train its trials together. Then
the workers of another study are killed, and its epochs are counted. Run it with
``python benchmarks/five_ways.py --rounds 3 --kills 10``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.cli.messages import say

WAYS = Path(__file__).resolve().parent / "ways"
PARAMS = {"width": 16, "learning_rate": 0.05, "momentum": 0.9}
SPACE = "[space]\nwidth = 16\nlearning_rate = 0.05\nmomentum = 0.9\n"
RECIPE = 'batch_size = 64\noptimizer = "sgd"\n'
_PLAIN = 'sampler = "random"\npruner = "none"\n'
_COMMAND = (
    f'command = "{sys.executable} {WAYS}/script_way.py --learning-rate {{learning_rate}} '
    '--momentum {momentum} --width {width} --seed {seed} --out {trial_dir}"\n'
)
_PATTERN = "[report]\npattern = 'epoch (?P<epoch>\\d+): val_accuracy (?P<val_accuracy>\\S+)'\n"
STUDIES = {
    "command": f"{_COMMAND}{_PLAIN}{SPACE}{_PATTERN}",
    "objective with hpo.Run": f'objective = "{WAYS}/objective_way.py:objective"\n{_PLAIN}',
    "Lightning callback": f'objective = "{WAYS}/lightning_way.py:objective"\n{_PLAIN}',
    "task on data sets": f'task = "{WAYS}/task_ways.py:DataSets"\n{_PLAIN}{SPACE}{RECIPE}',
    "task on arrays": f'task = "{WAYS}/task_ways.py:Arrays"\n{_PLAIN}{SPACE}{RECIPE}',
}
_EPOCHS = "SELECT count(*), count(DISTINCT trial_id || '/' || step) FROM trial_intermediate_values"
_WORKERS = "SELECT pid FROM hpo_worker WHERE ended_at IS NULL ORDER BY worker_id DESC LIMIT 1"
_VALUES = "SELECT value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
_SECONDS = """SELECT (julianday(max(datetime_complete)) - julianday(min(datetime_start))) * 86400.0
FROM trials"""


@dataclass(frozen=True)
class Outcome:
    """What a study has brought.

    Attributes:
        values: Of its complete trials.
        seconds: From the start of the first trial to the end of the last.
        n_reports: Epochs that were reported.
        n_epochs: Different ones among them.
    """

    values: list[float]
    seconds: float
    n_reports: int
    n_epochs: int


def study(way: str, folder: Path, n_trials: int, epochs: int, repeats: int, kills: int) -> Outcome:
    """Runs a study of a way to its end, and kills its workers meanwhile.

    Args:
        way: One of ``STUDIES``.
        folder: An empty one.
        n_trials: Trials, one after the other.
        epochs: Of a trial.
        repeats: How often the data stand in an epoch.
        kills: How often a worker is killed, each time in another trial.
    """
    head = 'name = "way"\nmetric = "val_accuracy"\ndirection = "maximize"\n'
    budget = f"[budget]\ntrials = {n_trials}\nepochs = {epochs}\n"
    body = STUDIES[way]
    top, mark, tables = body.partition("[")
    (folder / "way.toml").write_text(f"{head}{top}{budget}{mark}{tables}")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HPO_")},
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(WAYS),
        "WAYS_EPOCHS": str(epochs),
        "WAYS_REPEATS": str(repeats),
    }
    command = [sys.executable, "-m", "hpo", "run", "way.toml", "--workers", "1", "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    n_killed = 0
    while process.poll() is None:
        time.sleep(0.05)
        done = _ask(folder, _EPOCHS)
        # In the middle of each trial once: three losses of one would end it.
        if n_killed < kills and done and done[0][0] >= epochs * n_killed + epochs // 2:
            for (pid,) in _ask(folder, _WORKERS):
                os.kill(pid, signal.SIGKILL)
                n_killed += 1
    output, _ = process.communicate()
    if process.returncode or n_killed < kills:
        raise SystemExit(f"{way}: exit code {process.returncode}\n{output.decode()}")
    ((n_reports, n_epochs),), ((seconds,),) = _ask(folder, _EPOCHS), _ask(folder, _SECONDS)
    return Outcome(
        [value for (value,) in _ask(folder, _VALUES)], seconds, int(n_reports), int(n_epochs)
    )


def bare(way: str, epochs: int, repeats: int, seed: int) -> tuple[float, float]:
    """Returns the best value of the bare loop in a process of its own, and its seconds.

    The loop of a task on data sets has PyTorch's DataLoader; that of Lightning is its trainer; that
    of a command is the whole script, which is started for each trial.
    """
    begin = time.perf_counter()
    if way == "Lightning callback":
        train = f"lightning_way.bare(**{PARAMS})"
        code = f"import lightning_way; t = time.perf_counter(); {train}; print(json.dumps([None, "
        code += "time.perf_counter() - t]))"
    else:
        arguments = {**PARAMS, "seed": seed, "by_loader": way == "task on data sets"}
        code = f"import small_cnn; print(json.dumps(small_cnn.bare(**{arguments})))"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(WAYS),
        "WAYS_EPOCHS": str(epochs),
        "WAYS_REPEATS": str(repeats),
    }
    output = subprocess.run(
        [sys.executable, "-c", f"import json, time, torch; torch.set_num_threads(1); {code}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    ).stdout
    best, seconds = json.loads(output.splitlines()[-1])
    return best, time.perf_counter() - begin if way == "command" else seconds


def _ask(folder: Path, query: str) -> list[tuple[float, ...]]:
    path = folder / "hpo.db"
    if not path.exists():
        return []
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table of the ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ways", default=",".join(STUDIES))
    given = parser.parse_args(arguments)
    ways = given.ways.split(",")
    bests: dict[str, list[float]] = {way: [] for way in ways}
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    bare_bests = []
    for number in range(given.rounds):
        for way in ways:
            best, seconds = bare(way, given.epochs, given.repeats, number)
            bare_bests += [] if best is None else [best]
            with tempfile.TemporaryDirectory() as folder:
                found = study(way, Path(folder), given.trials, given.epochs, given.repeats, 0)
            bests[way] += found.values
            ratios[way].append(found.seconds / given.trials / seconds)
    say("| way | best value (median) | time beside the bare loop | kills | epochs lost |")
    say("| --- | ---: | ---: | ---: | ---: |")
    say(f"| bare loop | {statistics.median(bare_bests):.4f} | 1.00 | | |")
    for way in ways:
        lost = "not tried"
        if given.kills:
            with tempfile.TemporaryDirectory() as folder:
                killed = study(way, Path(folder), given.kills, 4, 1, given.kills)
            lost = str(4 * given.kills - killed.n_epochs)
            if killed.n_reports != killed.n_epochs or len(killed.values) != given.kills:
                lost += " (and trials or epochs that should not be)"
        best, ratio = statistics.median(bests[way]), statistics.median(ratios[way])
        say(f"| {way} | {best:.4f} | {ratio:.2f} | {given.kills} | {lost} |")


if __name__ == "__main__":
    main()
