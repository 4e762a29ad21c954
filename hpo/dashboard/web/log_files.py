"""Log files: the outputs of workers and trials that lie on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpo.report.study_queries import Subject
from hpo.run.files.artifacts import Artifacts, FilesOwner
from hpo.run.scripts.script_output import OUTPUT, shown_line
from hpo.store.db.database import Database
from hpo.store.studies import renaming

_WORKER: Final = re.compile(r"worker-([0-9]{1,6})\.log")
TAIL_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class LogTail:
    """The end of a log.

    Attributes:
        path: The file.
        text: Its last lines, as a terminal would show them in the end.
        is_cut: Whether the file has more before them.
    """

    path: Path
    text: str
    is_cut: bool


class LogFiles:
    """The logs of one study; only paths that follow from numbers are read.

    Args:
        db: The database.
        subject: The study.
        root: Folder of artifacts, if not the default one.
    """

    def __init__(self, db: Database, subject: Subject, root: str | None) -> None:
        self._files = None
        if subject.created_at is not None:
            with db.read() as conn:
                # It may have been renamed; its folder was not.
                name = renaming.files_of(conn, subject.study_id, subject.name)
            owner = FilesOwner(name, subject.created_at)
            self._files = Artifacts.of(owner, db.url, root)

    def workers(self) -> list[int]:
        """Returns the numbers of the workers whose logs lie here."""
        if self._files is None:
            return []
        found = (_WORKER.fullmatch(path.name) for path in self._files.log(0).parent.glob("*.log"))
        return sorted(int(match[1]) for match in found if match)

    def of_worker(self, index: int) -> LogTail | None:
        """Returns the log of a worker; None if there is none here."""
        return None if self._files is None else _tail(self._files.log(index))

    def of_trial(self, number: int) -> LogTail | None:
        """Returns what the command of a trial has printed; None if there is none here."""
        return None if self._files is None else _tail(self._files.trial_folder(number) / OUTPUT)


def _tail(path: Path) -> LogTail | None:
    # The folder belongs to code of users, which must not choose another file by a link.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL_BYTES))
            content = file.read(TAIL_BYTES)
    except OSError:
        return None
    is_cut = size > TAIL_BYTES
    lines = content.split(b"\n")[1 if is_cut else 0 :]
    return LogTail(path, "\n".join(shown_line(line) for line in lines).rstrip("\n"), is_cut)
