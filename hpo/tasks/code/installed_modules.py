"""Installed modules: those that may run without permission, as the user has installed them."""

from __future__ import annotations

import ast
import importlib.util
import json
import site
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# Modules of packages that do something when they are imported, and are not meant to be imported.
_NEVER: Final = frozenset(
    {
        *("__main__", "conftest", "setup", "test", "tests", "testing", "_testing"),
        *("example", "examples", "sample", "samples", "demo", "demos", "tutorial", "tutorials"),
        *("benchmark", "benchmarks", "bench", "script", "scripts", "doc", "docs", "_vendor"),
    }
)


def is_installed(name: str, attribute: str | None = None) -> bool:
    """Returns whether a module belongs to an installed package, without importing it.

    Installed modules are those in the folders of packages, or in the folder of an editable
    installation; not those of the current folder, PYTHONPATH or the standard library. Scripts,
    tests and examples of packages do not count, as importing them may have side effects.

    Args:
        name: Name of the module.
        attribute: First part of the name that it must define, if that is known.
    """
    parts = name.split(".")
    # The names of the standard library do not include its tests.
    if not _NEVER.isdisjoint(parts) or parts[0] in sys.stdlib_module_names:
        return False
    if any(part.startswith(("test_", "_test")) or part.endswith("_test") for part in parts):
        return False
    spec = _find(parts)
    if spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    roots = list(_roots())
    own = [Path(place).resolve() for place in places if place and place != "frozen"]
    if not own or not all(any(path.is_relative_to(root) for root in roots) for path in own):
        return False
    return attribute is None or _may_hold(spec, attribute)


def _find(parts: list[str]) -> ModuleSpec | None:
    """Finds a module in the folders of packages, without importing the packages around it."""
    path = [str(root) for root in _roots()]
    spec = None
    for i in range(len(parts)):
        name = ".".join(parts[: i + 1])
        try:
            spec = PathFinder.find_spec(name, path)
            if spec is None and i == 0:
                # Some editable installations have a finder of their own.
                spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


def _roots() -> Iterator[Path]:
    """Yields the folders of packages and of editable installations."""
    names = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    names |= {*site.getsitepackages(), site.getusersitepackages()}
    named = {Path(name).resolve() for name in names}
    shown = dict.fromkeys(Path(entry).resolve() for entry in sys.path if entry)
    # Clusters add further folders of packages to PYTHONPATH.
    folders = [f for f in shown if f in named or f.name in ("site-packages", "dist-packages")]
    yield from folders
    for folder in folders:
        yield from _pointed_to(folder)
    for distribution in metadata.distributions(path=[str(folder) for folder in folders]):
        text = distribution.read_text("direct_url.json")
        if text is None:
            continue
        url = json.loads(text)
        if url.get("dir_info", {}).get("editable"):
            yield Path(unquote(urlsplit(url["url"]).path)).resolve()


def _pointed_to(folder: Path) -> Iterator[Path]:
    """Yields the folders that the .pth files of a folder of packages name."""
    for file in sorted(folder.glob("*.pth")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                path = (folder / line.strip()).resolve()
                if path.is_dir():
                    yield path


def _may_hold(spec: ModuleSpec, attribute: str) -> bool:
    """Returns whether a module's source defines a name; True if there is no source."""
    if spec.origin is None or not spec.origin.endswith(".py"):
        return spec.origin is not None
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    return any(attribute in names or "*" in names for names in map(_named, ast.walk(tree)))


def _named(node: ast.AST) -> set[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            # The module may create attributes on access.
            return {"*"} if name == "__getattr__" else {name}
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            return {alias.asname or alias.name for alias in names}
        case ast.Name(id=name, ctx=ast.Store()):
            return {name}
        case _:
            return set()
