"""A Python process in which torch and its own dependencies are all that can be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_WITH_TORCH = (
    *("torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "networkx"),
    *("jinja2", "markupsafe", "filelock", "fsspec"),
)


def run_with_torch_alone(
    folder: Path, *arguments: str, expect: int = 0, also: tuple[str, ...] = ()
) -> str:
    """Runs a script where hpo, NumPy, pandas and scikit-learn cannot be imported.

    Args:
        folder: Current folder of the process.
        *arguments: The script and its arguments.
        expect: Its exit code.
        also: Names of other packages that it has.

    Returns:
        What it printed on standard output.
    """
    site = folder.parent / f"torch-alone-{'-'.join(also)}"
    if not site.is_dir():
        site.mkdir()
        for name in (*_WITH_TORCH, *also):
            spec = find_spec(name)
            if spec is not None and spec.origin is not None:
                origin = Path(spec.origin)
                found = origin.parent if spec.submodule_search_locations else origin
                (site / found.name).symlink_to(found)
                libraries = found.parent / f"{name}.libs"
                if libraries.is_dir():
                    (site / libraries.name).symlink_to(libraries)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        # -S: without the packages that are installed.
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.returncode == expect, process.stdout + process.stderr
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout if expect == 0 else process.stderr
