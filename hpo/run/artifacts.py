"""Where the files of a study lie: checkpoints, the best model, the workers' logs."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from sqlalchemy.engine import make_url

from hpo.errors import LaunchError
from hpo.run.remote import Remote, connect, is_remote

logger = logging.getLogger(__name__)
ENVIRONMENT_VARIABLE = "HPO_ARTIFACTS"

_KINDS = ("checkpoints", "models")
# File systems allow 255.
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Artifacts:
    """The files of one study.

    Machines that share them continue each other's trials from their checkpoints; without that a
    trial which moves to another machine starts again with the same seed.

    Attributes:
        folder: Made when something is first written. With a remote it holds this machine's copies.
        remote: The object store that machines share, if it is not the folder.
    """

    folder: Path
    remote: Remote | None = None

    @classmethod
    def of(cls, study_name: str, url: str, root: str | None = None) -> Artifacts:
        """Returns a study's files: under ``root``, ``$HPO_ARTIFACTS``, or beside the database.

        Args:
            study_name: Any name; what a file system may not like in it is replaced.
            url: The database's URL.
            root: A folder, or the URL of an object store: ``s3://bucket/prefix``.

        Raises:
            LaunchError: The object store cannot be used here.
        """
        base = root or os.environ.get(ENVIRONMENT_VARIABLE)
        name = _folder_name(study_name)
        if base and is_remote(base):
            remote = connect(base)
            prefix = f"{remote.prefix}/{name}".lstrip("/")
            return cls(_copies(base) / name, Remote(remote.store, prefix))
        folder = Path(base) if base else _default_root(url)
        return cls(folder.absolute() / name)

    def require_usable(self) -> None:
        """Makes sure that files can be written, without writing any.

        Raises:
            LaunchError: They cannot.
        """
        nearest = next(place for place in (self.folder, *self.folder.parents) if place.exists())
        if not nearest.is_dir():
            why = f"{nearest} is no folder"
        elif not os.access(nearest, os.W_OK | os.X_OK):
            why = f"{nearest} cannot be written"
        else:
            return
        hint = f"name another folder by --artifacts or {ENVIRONMENT_VARIABLE}"
        raise LaunchError(
            f"checkpoints and models cannot be kept in {self.folder}: {why}", hint=hint
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
        return path if os.path.exists(path) else None  # noqa: PTH110

    def share(self, path: Path) -> None:
        """Lets the other machines have a file that was written here."""
        if self.remote is not None:
            self.remote.keep(self._name(path), path)

    def drop(self, path: Path) -> None:
        """Removes a file, here and where it is shared."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # A disk that takes no changes; somebody sweeps again when it does.
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
        return path if path.exists() else None

    def of_trials(self) -> dict[Path, int]:
        """Returns the checkpoints and models on this machine, each with its trial's number."""
        found = (path for name in _KINDS for path in (self.folder / name).glob("trial-*.pt"))
        numbers = {path: path.stem.removeprefix("trial-") for path in found}
        # A copy that somebody has put there is nobody's.
        return {path: int(number) for path, number in numbers.items() if number.isdecimal()}

    def log(self, index: int) -> Path:
        """Returns where a local worker's output goes."""
        return self.folder / "logs" / f"worker-{index}.log"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _folder_name(study_name: str) -> str:
    """Returns a name that any file system takes, and that no other study has."""
    name = re.sub(r"[^\w.-]+", "_", study_name)
    if name == study_name and len(name.encode()) <= _MAX_NAME_BYTES and name.strip("."):
        return name
    short = name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
    return f"{short}-{_digest(study_name)[:8]}"


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
