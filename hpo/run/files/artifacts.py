"""Artifacts: the files of a study, which are checkpoints, models and the workers' logs."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import platformdirs
from sqlalchemy.engine import make_url

from hpo.errors import LaunchError
from hpo.run.files.object_store import ObjectStorePrefix, connect, is_remote

logger = logging.getLogger(__name__)
ENVIRONMENT_VARIABLE = "HPO_ARTIFACTS"

_KINDS = ("checkpoints", "models")
# File systems allow 255.
_MAX_NAME_BYTES = 200


class Named(Protocol):
    """A study, as far as its files are concerned."""

    @property
    def name(self) -> str:
        """Its name now; it may have had another."""

    @property
    def created_at(self) -> datetime | None:
        """When it was created, by the database's clock."""


@dataclass(frozen=True)
class FilesOwner:
    """A study of which no more is known; see ``Named``."""

    name: str
    created_at: datetime | None


@dataclass(frozen=True)
class Artifacts:
    """The files of one study.

    Machines that share them continue each other's trials from their checkpoints; without that a
    trial which moves to another machine starts again with the same seed. A folder belongs to one
    study of one database: its name ends with a digest of both, so that databases may share a root.

    Attributes:
        folder: Made when something is first written. With a remote it holds this machine's copies.
        remote: The object store that machines share, if it is not the folder.
        elsewhere: Where files of the study may lie that were written before it had this folder, by
            an older version or under another path of its database. They are only read.
        legacy: The one of these that an older version wrote, if it lies beside the database.
    """

    folder: Path
    remote: ObjectStorePrefix | None = None
    elsewhere: tuple[Artifacts, ...] = ()
    legacy: Path | None = None

    @classmethod
    def of(cls, study: Named, url: str, root: str | None = None) -> Artifacts:
        """Returns a study's files: under ``root``, ``$HPO_ARTIFACTS``, or beside the database.

        Args:
            study: Of any name; what a file system may not like in it is replaced. It may be
                renamed, and keeps its files.
            url: The database's URL.
            root: A folder, or the URL of an object store: ``s3://bucket/prefix``.

        Raises:
            LaunchError: The object store cannot be used here.
        """
        base = root or os.environ.get(ENVIRONMENT_VARIABLE)
        # Where the database knows it, the name that the study had first.
        name = _folder_name(getattr(study, "files", "") or study.name)
        if not base:
            old = _default_root(url).absolute() / name
            return cls._in(_own_root(url).absolute(), name, identity_of(study), old)
        # A copy of a database has the same studies, and must not touch each other's files.
        identity = f"{identity_of(study)}-{_digest(_place(url))[:4]}"
        if is_remote(base):
            remote = connect(base)
            # Without the name, for objects cannot be renamed with their study.
            mine, older = (f"{remote.prefix}/{key}".lstrip("/") for key in (identity, name))
            copies = _copies(base)
            before = cls(copies / name, ObjectStorePrefix(remote.store, older))
            return cls(copies / identity, ObjectStorePrefix(remote.store, mine), (before,))
        return cls._in(Path(base).absolute(), name, identity)

    @classmethod
    def _in(cls, root: Path, name: str, identity: str, legacy: Path | None = None) -> Artifacts:
        folder = root / f"{name}-{identity}"
        if not folder.is_dir():
            # The study may have had another name.
            folder = next(iter(sorted(root.glob(f"*-{identity}"))), folder)
        study = identity.partition("-")[0]
        others = [*sorted(root.glob(f"*-{study}*")), legacy or root / name]
        elsewhere = (cls(path) for path in others if path != folder and path.is_dir())
        return cls(folder, None, tuple(elsewhere), legacy)

    @property
    def own(self) -> list[Path]:
        """The folders on this machine that go with the study."""
        return [path for path in (self.folder, self.legacy) if path is not None and path.is_dir()]

    @staticmethod
    def root(url: str, root: str | None = None) -> Path:
        """Returns the folder of this machine that holds the folders of the studies.

        Args:
            url: The database's URL.
            root: See ``of``; of an object store it is the folder of this machine's copies.
        """
        base = root or os.environ.get(ENVIRONMENT_VARIABLE)
        if base and is_remote(base):
            return _copies(base)
        return Path(base).absolute() if base else _own_root(url).absolute()

    @staticmethod
    def require_usable(url: str, root: str | None = None) -> None:
        """Makes sure that files of studies can be written; what this tries leaves nothing behind.

        Args:
            url: The database's URL.
            root: See ``of``.

        Raises:
            LaunchError: They cannot.
        """
        base = root or os.environ.get(ENVIRONMENT_VARIABLE)
        if base and is_remote(base):
            connect(base)
        folder = Artifacts.root(url, root)
        # Unlike Path.exists it does not raise where a folder may not be looked into.
        nearest = next(one for one in (folder, *folder.parents) if os.path.exists(one))  # noqa: PTH110
        why = _refusal(nearest, folder.relative_to(nearest))
        if why:
            hint = f"name another folder by --artifacts or {ENVIRONMENT_VARIABLE}"
            raise LaunchError(
                f"checkpoints and models cannot be kept in {folder}: {why}", hint=hint
            )

    def checkpoint(self, number: int) -> Path:
        """Returns where the checkpoint of a trial lies here, or would lie."""
        return self.folder / "checkpoints" / f"trial-{number:06}.pt"

    def latest_checkpoint(self, number: int) -> Path | None:
        """Returns the file to continue a trial from, brought here if need be; None without one."""
        path = self.checkpoint(number)
        # What another machine has stored is newer than a copy from before it took the trial over.
        if self.remote is not None:
            self.remote.fetch(self._name(path), path)
        # Unlike Path.exists it does not raise where the disk fails.
        if os.path.exists(path):  # noqa: PTH110
            return path
        found = (one.latest_checkpoint(number) for one in self.elsewhere)
        return next(filter(None, found), None)

    def share(self, path: Path) -> None:
        """Lets the other machines have a file that was written here."""
        if self.remote is not None:
            self.remote.keep(self._name(path), path)

    def drop(self, path: Path) -> None:
        """Removes a file, here and where it is shared."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # A disk that takes no changes; a later garbage collection tries again.
            logger.info("could not remove %s: %s", path, error)
        if self.remote is not None:
            self.remote.drop(self._name(path))

    def model(self, number: int) -> Path:
        """Returns where the best weights of a trial lie, if it is the best of its study."""
        return self.folder / "models" / f"trial-{number:06}.pt"

    def find_model(self, number: int) -> Path | None:
        """Returns the file with a trial's best weights, brought here if need be."""
        path = self.model(number)
        if not path.exists() and self.remote is not None:
            self.remote.fetch(self._name(path), path)
        if path.exists():
            return path
        return next(filter(None, (one.find_model(number) for one in self.elsewhere)), None)

    def model_here(self, number: int) -> Path | None:
        """Returns the file with a trial's best weights, if this machine has it already."""
        places = (one.model(number) for one in (self, *self.elsewhere))
        return next((path for path in places if path.exists()), None)

    def of_trials(self) -> dict[Path, int]:
        """Returns the checkpoints and models on this machine, each with its trial's number."""
        found = (path for name in _KINDS for path in (self.folder / name).glob("trial-*.pt"))
        numbers = {path: path.stem.removeprefix("trial-") for path in found}
        # A copy that a person has put there belongs to no trial.
        return {path: int(number) for path, number in numbers.items() if number.isdecimal()}

    def remains_of_trials(self) -> dict[Path, int]:
        """Returns half-written checkpoints and models on this machine, with their trials' numbers.

        A worker that was killed while it wrote one has left it, or a worker is writing it now.
        """
        found = (path for name in _KINDS for path in (self.folder / name).glob(".trial-*.pt.*.tmp"))
        numbers = {path: path.name.removeprefix(".trial-").partition(".")[0] for path in found}
        return {path: int(number) for path, number in numbers.items() if number.isdecimal()}

    def trial_folder(self, number: int) -> Path:
        """Returns the folder of a trial whose training is a script or a loop of its user's.

        What the trial writes is kept until the study is deleted. Machines share it where they share
        the folder of the study, and not through an object store.
        """
        return self.folder / "trials" / f"trial-{number:06}"

    def log(self, index: int) -> Path:
        """Returns where a local worker's output goes."""
        return self.folder / "logs" / f"worker-{index}.log"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _refusal(nearest: Path, rest: Path) -> str:
    """Returns why a folder that exists takes no others; empty where it does.

    It is tried, for permissions do not tell: a file system may be mounted to be read, or be none
    for files, such as ``/proc``.

    Args:
        nearest: The folder that exists.
        rest: Path to create in it.
    """
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".hpo-") as place:
            Path(place, rest).mkdir(parents=True, exist_ok=True)
    except PermissionError:
        return f"{nearest} cannot be written"
    except OSError as error:
        # Workers wait until a full disk has room again.
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return "" if is_full else f"no folder can be made in {nearest}: {error.strerror}"
    return ""


def _folder_name(study_name: str) -> str:
    """Returns a name that any file system takes, and that no other study has."""
    name = re.sub(r"[^\w.-]+", "_", study_name)
    if name == study_name and len(name.encode()) <= _MAX_NAME_BYTES and name.strip("."):
        return name
    short = name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
    return f"{short}-{_digest(study_name)[:8]}"


def identity_of(study: Named) -> str:
    """Returns what tells a study from all others, whatever it or its database is called."""
    assert study.created_at is not None
    return _digest(study.created_at.isoformat(timespec="microseconds"))[:8]


def _place(url: str) -> str:
    """Returns what tells a database from its copies; the same on all machines that share it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return str(Path(parsed.database or "").resolve())
    # Machines may reach a server by different names.
    return parsed.database or ""


def _own_root(url: str) -> Path:
    """Returns the default root, which no other database beside this one has."""
    root, path = _default_root(url), Path(make_url(url).database or "")
    is_other = root.name != "artifacts" and path.suffix not in ("", ".db")
    return root if not is_other else root.with_name(f"{path.name}.artifacts")


def _default_root(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Path(parsed.database).with_suffix(".artifacts")
    # Studies of two databases may have the same name.
    place = f"{parsed.host}:{parsed.port}/{parsed.database}"
    return platformdirs.user_data_path("hpo", appauthor=False) / "artifacts" / _digest(place)


def _copies(root: str) -> Path:
    return platformdirs.user_cache_path("hpo", appauthor=False) / "artifacts" / _digest(root)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
