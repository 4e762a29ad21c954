"""Where the files of a study lie: checkpoints, the best model, the workers' logs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from sqlalchemy.engine import make_url

ENVIRONMENT_VARIABLE = "HPO_ARTIFACTS"


@dataclass(frozen=True)
class Artifacts:
    """The folder of one study.

    Machines that share it continue each other's trials from their checkpoints; without it a
    trial that moves to another machine starts again with the same seed.

    Attributes:
        folder: Made when something is first written.
    """

    folder: Path

    @classmethod
    def of(cls, study_name: str, url: str, root: str | None = None) -> Artifacts:
        """Returns a study's folder: under ``root``, ``$HPO_ARTIFACTS``, or beside the database.

        Args:
            study_name: Any name; what a file system may not like in it is replaced.
            url: The database's URL.
            root: The folder that was asked for.
        """
        base = root or os.environ.get(ENVIRONMENT_VARIABLE)
        folder = Path(base) if base else _default_root(url)
        return cls(folder.absolute() / re.sub(r"[^\w.-]+", "_", study_name))

    def checkpoint(self, number: int) -> Path:
        """Returns where the checkpoint of a trial lies, or would lie."""
        return self.folder / "checkpoints" / f"trial-{number:06}.pt"

    def model(self, number: int) -> Path:
        """Returns where the best weights of a trial lie, if it is the best of its study."""
        return self.folder / "models" / f"trial-{number:06}.pt"

    def keep_only_model(self, number: int) -> None:
        """Removes the models of all other trials: only the best trial's is kept."""
        for path in self.model(number).parent.glob("trial-*.pt"):
            if path != self.model(number):
                path.unlink(missing_ok=True)

    def log(self, index: int) -> Path:
        """Returns where a local worker's output goes."""
        return self.folder / "logs" / f"worker-{index}.log"


def _default_root(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Path(parsed.database).with_suffix(".artifacts")
    return platformdirs.user_data_path("hpo", appauthor=False) / "artifacts"
