"""Files of a study: where they lie, and how machines share them through an object store."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest
from optuna.artifacts import FileSystemArtifactStore

from hpo.errors import LaunchError
from hpo.run.artifacts import Artifacts
from hpo.run.remote import Remote, connect


class Bucket(FileSystemArtifactStore):
    """Optuna's own store of files, with folders in names, as object stores take them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        (self.path / artifact_id).parent.mkdir(parents=True, exist_ok=True)
        super().write(artifact_id, content_body)


class Away:
    """An object store that does not answer."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        raise ConnectionError("no route to the store")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        raise ConnectionError("no route to the store")

    def remove(self, artifact_id: str) -> None:
        raise ConnectionError("no route to the store")


def test_files_lie_beside_an_sqlite_database(tmp_path: Path) -> None:
    files = Artifacts.of("study-é", f"sqlite:///{tmp_path}/hpo.db")
    assert files.folder == tmp_path / "hpo.artifacts" / "study-é"


def test_each_study_has_a_folder_of_its_own_that_any_file_system_takes(tmp_path: Path) -> None:
    names = ["a study/é", "a_study_é", "a study:é", "日" * 199 + "x", "日" * 199 + "y", ".."]
    folders = [Artifacts.of(name, f"sqlite:///{tmp_path}/hpo.db").folder for name in names]
    assert len(set(folders)) == len(names)
    assert {folder.parent for folder in folders} == {tmp_path / "hpo.artifacts"}
    assert folders[0].name.startswith("a_study_é-")
    assert all(len(folder.name.encode()) < 255 and folder.name != ".." for folder in folders)


def test_the_folder_that_was_asked_for_goes_before_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_ARTIFACTS", str(tmp_path / "environment"))
    assert Artifacts.of("s", "sqlite:///x.db").folder == tmp_path / "environment" / "s"
    asked = Artifacts.of("s", "sqlite:///x.db", str(tmp_path / "asked"))
    assert asked.folder == tmp_path / "asked" / "s"


def test_another_machine_continues_from_what_the_store_holds(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path / "bucket")
    first = Artifacts(tmp_path / "first", Remote(bucket, "lab/s"))
    second = Artifacts(tmp_path / "second", Remote(bucket, "lab/s"))
    assert second.latest_checkpoint(7) is None

    for text in ("epoch 1", "epoch 2"):
        path = first.checkpoint(7)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        first.share(path)
        found = second.latest_checkpoint(7)
        assert found is not None
        assert found.read_text() == text
    assert (tmp_path / "bucket/lab/s/checkpoints/trial-000007.pt").exists()

    second.drop(second.checkpoint(7))
    assert not list((tmp_path / "bucket").rglob("*.pt"))
    assert not list((tmp_path / "second").rglob("*.pt"))


def test_a_store_that_is_away_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Artifacts(tmp_path, Remote(Away()))
    path = files.checkpoint(1)
    path.parent.mkdir(parents=True)
    path.write_text("kept here")
    files.share(path)
    assert files.latest_checkpoint(1) == path
    assert path.read_text() == "kept here"
    files.drop(path)
    assert not path.exists()
    assert caplog.text.count("no route to the store") == 3


def test_the_files_of_trials_are_told_from_others(tmp_path: Path) -> None:
    files = Artifacts(tmp_path)
    assert files.of_trials() == {}
    for path in (files.model(1), files.checkpoint(1), files.checkpoint(1_234_567), files.log(2)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("bytes")
    files.model(1).with_suffix(".tmp").write_text("half written")
    assert files.of_trials() == {
        files.model(1): 1,
        files.checkpoint(1): 1,
        files.checkpoint(1_234_567): 1_234_567,
    }


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("gcs://bucket", "no object store is called gcs; did you mean gs?"),
        ("ftp://host/path", "no object store is called ftp; allowed: a folder, s3://, gs://"),
        ("s3:///prefix", "names no bucket"),
    ],
)
def test_wrong_roots_are_named(root: str, message: str) -> None:
    with pytest.raises(LaunchError) as caught:
        connect(root)
    assert message in str(caught.value)
