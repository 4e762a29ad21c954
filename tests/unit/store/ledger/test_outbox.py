"""The outbox: records are read back in order, up to one that is not whole."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
from pathlib import Path

import filelock
import pytest

from hpo.store.ledger import outbox
from hpo.store.ledger.leases import EpochRow, Outcome
from hpo.store.ledger.outbox import Outbox


def _row(epoch: int, loss: float = 0.5) -> EpochRow:
    return EpochRow(
        trial_id=7,
        token=2**60,
        epoch=epoch,
        metrics={"val_loss": loss, "val_accuracy": 0.1 + 0.2},
        objective=-math.inf,
        learning_rate=None,
        seconds=0.25,
        samples_per_s=1e4,
    )


def _outcome(text: str = "") -> Outcome:
    return Outcome(
        trial_id=7,
        token=2**60,
        state="complete",
        values=(0.5, math.inf),
        message=text,
        user_attrs={"test_accuracy": 0.9, "classes": ["a", "ü"]},
        epoch=3,
    )


def _only(folder: Path) -> Path:
    (path,) = outbox.files_in(folder)
    return path


def test_what_was_appended_is_read_in_its_order(tmp_path: Path) -> None:
    records: list[EpochRow | Outcome] = [
        _row(1),
        _row(2),
        _outcome("several\nlines\r\n\u2028"),
        _row(3),
    ]
    mine = Outbox(tmp_path / "new" / "folder", 4)
    assert outbox.files_in(tmp_path / "new" / "folder") == []
    mine.append(records[:1])
    mine.append(records[1:])
    assert outbox.read(mine.path).records == records
    assert [list(batch) for batch in outbox.batches(records)] == [
        records[:2],
        [records[2]],
        [_row(3)],
    ]
    mine.remove()
    mine.remove()
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_value_that_is_not_a_number_survives() -> None:
    found = outbox.decode(outbox.encode(_row(1, math.nan)))
    assert isinstance(found, EpochRow)
    assert math.isnan(found.metrics["val_loss"])


@pytest.mark.parametrize("n_bytes_lost", [1, 2, 40, 300])
def test_a_torn_last_record_is_left_out(tmp_path: Path, n_bytes_lost: int) -> None:
    mine = Outbox(tmp_path, 4)
    mine.append([_row(1), _row(2)])
    whole = mine.path.stat().st_size
    mine.append([_outcome("x" * 400)])
    assert mine.path.stat().st_size - whole > n_bytes_lost
    os.truncate(mine.path, mine.path.stat().st_size - n_bytes_lost)
    assert outbox.read(mine.path).records == [_row(1), _row(2)]


def test_nothing_is_written_after_a_damaged_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Outbox(tmp_path, 4)
    mine.append([_row(1), _row(2), _outcome()])
    lines = mine.path.read_bytes().splitlines(keepends=True)
    damaged = lines[1].replace(b"0.25", b"0.26")
    mine.path.write_bytes(lines[0] + damaged + lines[2])
    with caplog.at_level(logging.WARNING):
        assert outbox.read(mine.path).records == [_row(1)]
    assert "left out the last 2 records" in caplog.text


def test_a_disk_that_is_full_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Outbox(tmp_path, 4)
    mine.append([_row(1)])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            mine.append([_row(2)])
    assert outbox.read(mine.path).records == [_row(1)]
    mine.append([_row(2), _row(3)])
    assert outbox.read(mine.path).records == [_row(1), _row(2), _row(3)]


def test_a_spool_is_locked_while_its_owner_lives(tmp_path: Path) -> None:
    mine = Outbox(tmp_path, 4)
    mine.append([_row(1)])
    other = filelock.FileLock(_only(tmp_path).with_suffix(".lock"), thread_local=False)
    with pytest.raises(filelock.Timeout):
        other.acquire(timeout=0)
    mine.remove()


def _write_and_die(folder: str) -> None:
    Outbox(Path(folder), 4).append([_row(1)])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_the_lock_of_a_killed_owner_is_free(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_write_and_die, args=(str(tmp_path),)
    )
    process.start()
    process.join(60)
    process.close()
    with filelock.FileLock(_only(tmp_path).with_suffix(".lock"), timeout=0):
        assert outbox.read(_only(tmp_path)).records == [_row(1)]


def test_a_worker_never_writes_into_an_older_spool(tmp_path: Path) -> None:
    first, second = Outbox(tmp_path, 4), Outbox(tmp_path, 4)
    first.append([_row(1)])
    second.append([_row(2)])
    assert len(outbox.files_in(tmp_path)) == 2
    first.remove()
    second.remove()


def test_each_study_of_each_database_has_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_SPOOL", str(tmp_path))
    one = outbox.folder_of("postgresql+psycopg://me:secret@host/db", 3)
    assert one.is_relative_to(tmp_path)
    assert one == outbox.folder_of("postgresql+psycopg://you:changed@host/db", 3)
    assert one != outbox.folder_of("postgresql+psycopg://me:secret@host/db", 4)
    assert one != outbox.folder_of("postgresql+psycopg://me:secret@host:5433/db", 3)
    assert one != outbox.folder_of("postgresql+psycopg://me:secret@host/other", 3)
    monkeypatch.delenv("HPO_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert outbox.folder_of("sqlite:////a/hpo.db", 3).is_relative_to(tmp_path / "state" / "hpo")
