"""Worker orders: what a supervisor tells a new worker process."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker process is told; the URL may hold a password, so it is never an argument.

    Attributes:
        url: The database.
        study_name: The study that it works on.
        artifacts: The root folder for files, if one was asked for.
        device: As PyTorch names it.
        n_threads: Threads of PyTorch's CPU kernels.
        allow: Tasks and objectives that this machine's user named.
        base_dir: Folder that relative paths of the study refer to.
        study_id: Of the study, which may be renamed; None to go by its name.
        created_at: Of the study, in ISO format: another may have its id when it was deleted.
    """

    url: str
    study_name: str
    artifacts: str | None
    device: str
    n_threads: int
    allow: tuple[str, ...]
    base_dir: str | None
    study_id: int | None = None
    created_at: str = ""

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerOrder:
        """Reads what ``to_json`` wrote."""
        raw = json.loads(text)
        return cls(**{**raw, "allow": tuple(raw["allow"])})
