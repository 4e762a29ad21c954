"""Files of data sets from the network: fetched once, kept, and checked by their checksums."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs
from filelock import FileLock

from hpo.errors import TaskError

if TYPE_CHECKING:
    from rich.progress import Progress

ENVIRONMENT_VARIABLE: Final = "HPO_DATA"

_TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 2**18


@dataclass(frozen=True)
class RemoteFile:
    """A file somewhere in the network.

    Attributes:
        path: Where it is kept, below the folder of data.
        sha256: Its checksum, in hexadecimal.
        urls: Where it can be had, the first one first.
    """

    path: str
    sha256: str
    urls: tuple[str, ...]


def folder() -> Path:
    """Returns where files are kept: ``$HPO_DATA``, or the user's cache."""
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    if given:
        return Path(given).expanduser()
    return platformdirs.user_cache_path("hpo", appauthor=False) / "data"


def fetch(remote: RemoteFile) -> Path:
    """Returns a file, which is downloaded unless it is there already.

    Processes that want the same file wait for the one that fetches it. A bar shows how far it is
    if a person sees this process's standard error.

    Raises:
        TaskError: It can be had nowhere, or comes damaged.
    """
    path = folder() / remote.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not (path.is_file() and _sha256(path) == remote.sha256):
                _download(remote, path)
    except OSError as error:
        raise TaskError(f"cannot keep {path}: {error}", hint=_elsewhere()) from error
    return path


def _download(remote: RemoteFile, path: Path) -> None:
    failures = []
    partial = path.with_name(f"{path.name}.part")
    for url in remote.urls:
        try:
            _copy(url, partial)
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        if _sha256(partial) == remote.sha256:
            partial.replace(path)
            return
        failures.append(f"{url}: what came is damaged, its SHA-256 is another")
    partial.unlink(missing_ok=True)
    raise TaskError(
        f"cannot download {path.name}: {'; '.join(failures)}",
        hint=f"without a network put the file there yourself: {path} (SHA-256 {remote.sha256}); "
        f"{_elsewhere()}",
    )


def _elsewhere() -> str:
    return f"${ENVIRONMENT_VARIABLE} names another folder"


def _copy(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, _bar() as progress:
        length = response.headers.get("Content-Length")
        name = path.name.removesuffix(".part")
        task = progress.add_task(f"downloading {name}", total=int(length) if length else None)
        with path.open("wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))


def _bar() -> Progress:
    # Imported here: workers read data, but hardly ever show a bar.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
