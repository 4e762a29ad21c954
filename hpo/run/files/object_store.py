"""Object store: shares checkpoints and models of machines that have no common folder."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from hpo.errors import LaunchError, did_you_mean

logger = logging.getLogger(__name__)
SCHEMES = ("s3", "gs")


class ObjectStore(Protocol):
    """What Optuna's artifact stores can do."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Opens an object."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Writes an object, over what was there under this name."""

    def remove(self, artifact_id: str) -> None:
        """Removes an object."""


@dataclass(frozen=True)
class ObjectStorePrefix:
    """A prefix in an object store: the objects whose names begin with it.

    Every verb is a best effort: an object store that is away stops no training. What could not
    be fetched is trained again from the same seed, with the same outcome.

    Attributes:
        store: One of Optuna's artifact stores.
        prefix: Begins the name of every object.
    """

    store: ObjectStore
    prefix: str = ""

    def fetch(self, name: str, path: Path) -> bool:
        """Copies an object to ``path``, all at once or not at all; False when it is not there."""
        # Optuna's module loads the libraries of all object stores that are installed.
        from optuna.artifacts.exceptions import ArtifactNotFound

        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            with self.store.open_reader(self._id(name)) as reader:
                path.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(reader.read())
        except ArtifactNotFound:
            return False
        except Exception as error:  # noqa: BLE001 - each store raises errors of its own library
            logger.warning("could not fetch %s: %s", name, error)
            part.unlink(missing_ok=True)
            return False
        part.replace(path)
        return True

    def keep(self, name: str, path: Path) -> None:
        """Copies a file into the store, over what was there under this name."""
        try:
            with path.open("rb") as body:
                self.store.write(self._id(name), body)
        except Exception as error:  # noqa: BLE001 - each store raises errors of its own library
            logger.warning("could not store %s: %s", name, error)

    def drop(self, name: str) -> None:
        """Removes an object; one that is not there is no error."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        try:
            self.store.remove(self._id(name))
        except ArtifactNotFound:
            return
        except Exception as error:  # noqa: BLE001 - each store raises errors of its own library
            logger.warning("could not remove %s: %s", name, error)

    def _id(self, name: str) -> str:
        return f"{self.prefix}/{name}".lstrip("/")


def is_remote(root: str) -> bool:
    """Returns whether a root of artifacts is the URL of an object store."""
    return "://" in root


def connect(root: str) -> ObjectStorePrefix:
    """Opens the object store of a URL such as ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    Credentials are those that the store's own library finds on this machine.

    Raises:
        LaunchError: There is no such kind of store, or its library is not installed.
    """
    url = urlsplit(root)
    if url.scheme not in SCHEMES:
        hint = did_you_mean(url.scheme, SCHEMES) or "; allowed: a folder, s3://, gs://"
        raise LaunchError(f"--artifacts {root}: no object store is called {url.scheme}{hint}")
    if not url.netloc:
        raise LaunchError(f"--artifacts {root} names no bucket")
    return ObjectStorePrefix(_store(url.scheme, url.netloc), url.path.strip("/"))


def _store(scheme: str, bucket: str) -> Any:
    from optuna.artifacts import Boto3ArtifactStore, GCSArtifactStore

    kinds: dict[str, tuple[Any, str]] = {
        "s3": (Boto3ArtifactStore, "boto3"),
        "gs": (GCSArtifactStore, "google-cloud-storage"),
    }
    cls, package = kinds[scheme]
    try:
        return cls(bucket)
    except ImportError:
        raise LaunchError(
            f"--artifacts {scheme}:// needs {package}", hint="pip install 'hpo[object-stores]'"
        ) from None
