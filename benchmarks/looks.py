"""How long the commands take that look at a large study, whole processes with their imports.

The database has two studies of 20,000 trials, one of them by the sampler tpe with 50 reports each,
one by the sampler auto with 30. A command should answer in two seconds, a plot or a report in five.
Run it from the checkout: ``python -m benchmarks.looks --rounds 3``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.scale_data import Size, generate
from hpo.cli.messages import say
from hpo.store.db.opening import open_database

LOOK_S: Final = 2.0
DRAW_S: Final = 5.0
_PLOTS: Final = (
    "history",
    "curves",
    "importance",
    "parallel",
    "slice",
    "contour",
    "rank",
    "timeline",
    "budget",
)


def commands(wide: str, auto: str) -> list[tuple[tuple[str, ...], float]]:
    """Returns the arguments of each command, and its limit in seconds."""
    looks = [
        ("ls",),
        ("top",),
        *((command, name) for name in (wide, auto) for command in ("show", "watch", "best")),
        ("show", wide, "--trial", "17"),
        ("trials", wide, "--limit", "20"),
        ("logs", wide),
        ("compare", wide, auto),
        ("doctor",),
    ]
    draws = [("plot", kind, wide, "-o", f"{kind}.png") for kind in _PLOTS]
    draws += [("plot", "importance", wide, "-o", "importance.html")]
    draws += [("compare", wide, auto, "-o", "compare.png")]
    draws += [("report", name, "-o", f"{name}.html") for name in (wide, auto)]
    return [(look, LOOK_S) for look in looks] + [(draw, DRAW_S) for draw in draws]


def measured(arguments: Sequence[str], folder: Path, rounds: int) -> tuple[float, float, int]:
    """Returns the least wall and processor seconds of a command, and its exit code."""
    walls, processor, code = [], [], 0
    for _ in range(rounds):
        before, begin = os.times(), time.monotonic()
        call = [sys.executable, "-m", "hpo", *arguments]
        code = subprocess.run(call, cwd=folder, capture_output=True, check=False).returncode
        after = os.times()
        walls.append(time.monotonic() - begin)
        used = after.children_user + after.children_system
        processor.append(used - before.children_user - before.children_system)
    return min(walls), min(processor), code


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = open_database(f"sqlite:///{folder / 'hpo.db'}", create=True)
        wide, auto = (
            Size("wide", options.trials, 50),
            Size("by-auto", options.trials, 30, "auto"),
        )
        for size in (wide, auto):
            generate(db, size)
        db.dispose()
        say("| command | s | processor s | limit | met |")
        say("| --- | ---: | ---: | ---: | --- |")
        for arguments, limit in commands(wide.name, auto.name):
            wall, used, code = measured(arguments, folder, options.rounds)
            # `hpo watch` ends with 0, `hpo logs` with 2 where there are none, doctor with warnings.
            met = "yes" if wall <= limit else "no"
            shown = " ".join(arguments)
            say(f"| hpo {shown} | {wall:.2f} | {used:.2f} | {limit:g} | {met} ({code}) |")


if __name__ == "__main__":
    main()
