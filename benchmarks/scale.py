"""How large studies may grow: joining one, and looking at it, against Optuna on the same data.

One study has 20,000 finished trials of 10 params and 50 reports, half of them COMPLETE and nearly
half PRUNED; another one, in the same database, has 100,000 trials with 5 reports each. A third one
has 10,000 trials of 30 epochs by the sampler auto, three quarters of which are paused. Everything
is measured in processes of its own. A worker is ready when it has registered, has claimed a trial
and holds the params that TPE has drawn for it; torch and the task, which a worker loads as well,
whatever the size of the study, are not part of that. Optuna loads the same study, asks and
suggests every param.

Run it from the checkout: ``python benchmarks/scale.py [sqlite] [postgresql] [mysql]``, or with
``--url`` for a database of yours, from which its studies are deleted in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

# The servers are those of the tests; a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scale_data import Size, generate
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import studies
from tests.kits.servers import MariaDB, MissingServer, PostgreSQL

ROOT = Path(__file__).resolve().parent.parent
READY_S = 5.0
READY_MIB = 400.0
LOOK_S = 1.0
LOOK_MS = 20.0
LOOK_KB = 50.0
SERVERS = {"postgresql": PostgreSQL, "mysql": MariaDB}


@dataclass(frozen=True)
class Line:
    """A line of the table: a figure, its limit and Optuna's figure for the same."""

    what: str
    found: float
    limit: float | None = None
    optuna: float | None = None

    def cells(self) -> tuple[str, ...]:
        """Returns what stands in the table."""
        met = "" if self.limit is None else ("yes" if self.found < self.limit else "NO")
        limit = "" if self.limit is None else f"{self.limit:g}"
        optuna = "" if self.optuna is None else f"{self.optuna:,.1f}"
        ratio = "" if self.optuna is None else f"{self.optuna / self.found:.1f}"
        return self.what, f"{self.found:,.2f}", limit, met, optuna, ratio


class Bench:
    """Measures one database.

    Args:
        url: The database.
        rounds: How often each is measured. The best counts: others may be at work here.
    """

    def __init__(self, url: str, rounds: int) -> None:
        self._url = url
        self._rounds = rounds

    def joining(self, size: Size, *, with_optuna: bool) -> Iterator[Line]:
        """Yields what a worker needs until it can train."""
        ours = self._probe("hpo", size)
        theirs = self._probe("optuna", size, rounds=1) if with_optuna else {}
        ready = f"worker ready, {size.n_trials:,} trials"
        yield Line(f"{ready}, s", ours["whole_s"], READY_S, theirs.get("whole_s"))
        yield Line("  of that without imports, s", ours["within_s"], None, theirs.get("within_s"))
        yield Line("  processor time, s", ours["cpu_s"], None, theirs.get("cpu_s"))
        yield Line("  peak memory, MiB", ours["peak_mib"], READY_MIB, theirs.get("peak_mib"))

    def planning(self, size: Size) -> Iterator[Line]:
        """Yields what a worker's look before a claim costs, where trials pause."""
        found = self._probe("look", size)
        what = f"a look, auto, {size.n_trials:,} trials"
        yield Line(f"{what}, the first, CPU ms", found["first_ms"])
        yield Line("  with nothing new, CPU ms", found["again_ms"], LOOK_MS)
        if found["first_kb"]:
            yield Line("  the first, kB", found["first_kb"])
            yield Line("  with nothing new, kB", found["again_kb"], LOOK_KB)

    def looking(self, what: str, size: Size, *arguments: str) -> Iterator[Line]:
        """Yields how long a command takes that shows something."""
        command = [sys.executable, "-m", "hpo", what, *arguments, "--storage", self._url]
        wall_s, cpu_s = [], []
        for _ in range(self._rounds):
            started, used = time.perf_counter(), _cpu_of_children_s()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            wall_s.append(time.perf_counter() - started)
            cpu_s.append(_cpu_of_children_s() - used)
        within_s = self._probe(what, size)["within_s"]
        yield Line(f"hpo {what}, {size.n_trials:,} trials, s", min(wall_s), LOOK_S)
        yield Line("  of that in the database, s", within_s)
        yield Line("  processor time, s", min(cpu_s))

    def _probe(self, what: str, size: Size, rounds: int | None = None) -> dict[str, float]:
        found = []
        for _ in range(rounds or self._rounds):
            command = [sys.executable, str(ROOT / "benchmarks/scale_probe.py"), what, self._url]
            command += [size.name, str(time.time())]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout))
        return {key: min(one[key] for one in found) for key in found[0]}


def _cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def databases(kinds: Sequence[str], url: str | None) -> Iterator[Iterator[tuple[str, str]]]:
    """Gives the name and the URL of each database, and cleans up."""
    with tempfile.TemporaryDirectory() as folder:
        if url is not None:
            yield iter([(Database(url).masked_url, url)])
        else:
            yield (pair for kind in kinds for pair in _of_kind(kind, Path(folder)))


def _of_kind(kind: str, folder: Path) -> Iterator[tuple[str, str]]:
    if kind == "sqlite":
        yield kind, f"sqlite:///{folder / 'scale.db'}"
        return
    server = SERVERS[kind]()
    try:
        yield kind, server.create_database("scale")
    finally:
        server.remove()


def measure(url: str, options: argparse.Namespace) -> list[Line]:
    """Fills a database, measures, and deletes what it has put there."""
    wide = Size("benchmark-wide", options.trials, 50)
    long = Size("benchmark-long", 5 * options.trials, 5)
    auto = Size("benchmark-auto", options.trials // 2, 30, "auto")
    db = open_database(url, create=True)
    bench = Bench(url, options.rounds)
    made = []
    try:
        made.append(generate(db, wide))
        lines = list(bench.joining(wide, with_optuna=options.optuna))
        made.append(generate(db, auto))
        lines += bench.planning(auto)
        made.append(generate(db, long))
        lines += bench.looking("ls", Size("", wide.n_trials + long.n_trials + auto.n_trials, 0))
        lines += bench.looking("show", wide, wide.name)
        lines += bench.looking("trials", long, long.name, "--limit", "20")
    finally:
        if options.url is not None:
            for study_id in made:
                studies.delete(db, study_id)
        db.dispose()
    return lines


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=["sqlite"], help="sqlite, postgresql, mysql")
    parser.add_argument("--url", help="a database of yours instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--no-optuna", dest="optuna", action="store_false")
    options = parser.parse_args()
    table = Table("database", "what", "hpo", "limit", "met", "optuna", "ratio")
    with databases(options.kinds, options.url) as found:
        try:
            for name, url in found:
                for line in measure(url, options):
                    table.add_row(name, *line.cells())
                table.add_section()
        except MissingServer as error:
            table.add_row("", str(error))
    load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    table.caption = (
        f"best of {options.rounds}, Optuna once; whole processes, imports included; no torch; "
        f"{os.cpu_count()} cores, load {load}"
    )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
