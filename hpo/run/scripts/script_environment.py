"""Script environment: the variables that a command gets, and those that it does not get."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import make_url

from hpo.run.scripts.stray_processes import MARK
from hpo.spec.command_line import as_text

_RANKS: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
"""What a launcher may have told this worker of itself; a script is a launch of its own."""

_SECRETS: Final = (
    "HPO_STORAGE",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "MYSQL_PWD",
    "MYSQL_HOST",
    "MARIADB_PWD",
)
"""What the drivers of the databases read."""


@dataclass(frozen=True)
class ScriptTrial:
    """A trial as its script sees it.

    Attributes:
        study: Name of the study.
        number: Of the trial, from 0.
        params: Values that apply.
        seed: Of the trial.
        epochs: Most epochs.
        reported: Epochs that are reported already.
        counted: Epochs after which a script that does not count continues its count: those that
            are reported, if it resumes, else 0.
        folder: Of the trial.
        metrics: That are optimised.
        directions: One for each.
    """

    study: str
    number: int
    params: Mapping[str, Any]
    seed: int
    epochs: int
    reported: int
    counted: int
    folder: Path
    metrics: Sequence[str]
    directions: Sequence[str]

    @property
    def params_file(self) -> Path:
        """The JSON file with its params."""
        return self.folder / "params.json"

    @property
    def placeholders(self) -> dict[str, Any]:
        """The values for the placeholders of a command."""
        return {
            **self.params,
            "trial_dir": self.folder,
            "params_file": self.params_file,
            "seed": self.seed,
            "trial": self.number,
            "epochs": self.epochs,
        }


def script_environment(
    own: Mapping[str, str], url: str, trial: ScriptTrial, socket: Path
) -> dict[str, str]:
    """Returns the environment of a script.

    Args:
        own: This process's.
        url: The database's; what holds its password is left out.
        trial: The trial.
        socket: Where the script asks whether to stop.
    """
    password = make_url(url).password
    kept = {
        name: value
        for name, value in own.items()
        if name not in (*_SECRETS, *_RANKS) and not _reveals(value, password)
    }
    params = {f"HPO_PARAM_{_upper(name)}": as_text(v) for name, v in trial.params.items()}
    return {
        # Otherwise Python keeps what it prints until it has some thousand bytes.
        "PYTHONUNBUFFERED": "1",
        **kept,
        **params,
        "HPO_TRIAL_DIR": str(trial.folder),
        "HPO_PARAMS_FILE": str(trial.params_file),
        "HPO_SEED": str(trial.seed),
        "HPO_TRIAL": str(trial.number),
        "HPO_STUDY": trial.study,
        "HPO_EPOCHS": str(trial.epochs),
        "HPO_METRIC": ",".join(trial.metrics),
        "HPO_DIRECTION": ",".join(trial.directions),
        "HPO_REPORTED": str(trial.reported),
        "HPO_COUNTED": str(trial.counted),
        MARK: str(socket),
    }


def _reveals(value: str, password: str | None) -> bool:
    """Returns whether a variable has the database's password, alone or in a URL."""
    return bool(password) and (value == password or f":{password}@" in value)


def _upper(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII).upper()
