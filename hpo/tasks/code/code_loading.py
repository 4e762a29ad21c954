"""Code loading: imports the module or the file that a reference names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

from hpo.errors import TaskError
from hpo.train.user_code_guard import user_code

# Loaded files, with the time of their last change.
_LOADED: Final[dict[str, int]] = {}


def load_file(path: Path) -> ModuleType:
    """Loads a Python file as a module, whose name is the same in every process.

    The module is not ``__main__``, so the script's main part does not run. Files beside it can be
    imported, as if it were run.

    Raises:
        TaskError: The file raises.
    """
    path = path.resolve()
    name = module_name(path)
    changed_at = path.stat().st_mtime_ns
    if name in sys.modules and _LOADED.get(name) == changed_at:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered first: dataclasses and pickles look their module up by its name.
    sys.modules[name] = module
    try:
        with _importing(path.name, path), _searched_first([path.parent]), _arguments(path):
            spec.loader.exec_module(module)
    except TaskError:
        del sys.modules[name]
        raise
    _LOADED[name] = changed_at
    return module


def module_name(path: Path) -> str:
    """Returns the name of a file's module, which is unique and depends on its path alone."""
    digest = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()
    return f"hpo_file_{re.sub(r'[^a-zA-Z0-9_]', '_', path.stem)}_{digest[:8]}"


def load_module(name: str, folders: Sequence[Path] = ()) -> ModuleType | None:
    """Imports a module by its dotted name.

    Args:
        name: Name of the module.
        folders: Folders to search besides those of installed packages. Without any, the current
            folder is not searched either.

    Returns:
        The module, or None if it does not exist.

    Raises:
        TaskError: The import raises.
    """
    search = _searched_first(folders) if folders else _installed_only()
    try:
        with _importing(name), search:
            return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


@contextmanager
def _installed_only() -> Iterator[None]:
    before = list(sys.path)
    here = Path.cwd().resolve()
    sys.path[:] = [entry for entry in before if entry and Path(entry).resolve() != here]
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _searched_first(folders: Sequence[Path]) -> Iterator[None]:
    """Searches folders first, as Python does for a script's folder, and later last.

    They remain on the path for imports inside functions, at its end so that they shadow no other
    modules.
    """
    names = list(dict.fromkeys(str(folder.resolve()) for folder in folders))
    before = list(sys.path)
    sys.path[:0] = names
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in names:
            sys.path.remove(name)
        sys.path += [name for name in names if name not in before]


@contextmanager
def _arguments(path: Path) -> Iterator[None]:
    # A script that reads its arguments must not read those of hpo.
    before, sys.argv = sys.argv, [str(path)]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _importing(what: str, path: Path | None = None) -> Iterator[None]:
    """Converts an exception of an import into a one-line error.

    Raises:
        ModuleNotFoundError: The module itself, or a package around it, does not exist.
        TaskError: The import raises anything else.
    """
    try:
        with user_code(f"importing {what}"):
            yield
    except TaskError as error:
        cause = error.__cause__
        if cause is None:
            raise
        if isinstance(cause, SystemExit):
            raise TaskError(
                f"{what} ends the program when it is imported",
                hint='put what it does as a script under: if __name__ == "__main__":',
            ) from cause
        if isinstance(cause, ModuleNotFoundError) and path is None and _is_part(cause.name, what):
            raise cause from None
        raise TaskError(_sentence(what, cause, path), hint=_advice(cause)) from cause


def _is_part(missing: str | None, module: str) -> bool:
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def _advice(error: BaseException) -> str | None:
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "write it without the leading dot: files beside it are found by their names"
    return None


def _sentence(what: str, error: BaseException, path: Path | None) -> str:
    if isinstance(error, SyntaxError):
        file = Path(error.filename).name if error.filename else what
        return f"{file}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    own = [frame for frame in frames if path is not None and Path(frame.filename) == path]
    at = (own or frames)[-1]
    lines = str(error).strip().splitlines()
    text = f": {lines[-1]}" if lines else ""
    return f"{Path(at.filename).name}, line {at.lineno}, raises {type(error).__name__}{text}"
