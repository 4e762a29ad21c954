"""Files of a study: where they lie, and how machines share them through an object store."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from optuna.artifacts import FileSystemArtifactStore

from hpo.errors import LaunchError
from hpo.run.files.artifacts import Artifacts
from hpo.run.files.object_store import ObjectStorePrefix, connect
from hpo.run.host.session import RunOptions
from hpo.run.host.session_start import start
from hpo.spec.study_spec import StudySpec
from hpo.store.db.opening import open_database
from hpo.store.studies import study_records
from hpo.store.studies.study_records import StudyRecord


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


def study(name: str = "s", second: int = 1) -> StudyRecord:
    """Returns a study of this name that was created at this second."""
    made_at = datetime(2026, 1, 1, 12, 0, second)
    spec = StudySpec(name="s", task="digits-mlp", budget={"trials": 1, "epochs": 1})
    budget = spec.budget
    return StudyRecord(1, name, spec, "", "active", None, budget, None, made_at, made_at, None)


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("bytes")
    return path


def test_files_lie_beside_an_sqlite_database(tmp_path: Path) -> None:
    files = Artifacts.of(study("study-é"), f"sqlite:///{tmp_path}/hpo.db")
    assert files.folder.parent == tmp_path / "hpo.artifacts"
    assert files.folder.name.startswith("study-é-")


def test_each_study_has_a_folder_of_its_own_that_any_file_system_takes(tmp_path: Path) -> None:
    names = ["a study/é", "a_study_é", "a study:é", "日" * 199 + "x", "日" * 199 + "y", ".."]
    url = f"sqlite:///{tmp_path}/hpo.db"
    folders = [Artifacts.of(study(name), url).folder for name in names]
    assert len(set(folders)) == len(names)
    assert {folder.parent for folder in folders} == {tmp_path / "hpo.artifacts"}
    assert folders[0].name.startswith("a_study_é-")
    assert all(len(folder.name.encode()) < 255 and folder.name != ".." for folder in folders)


def test_the_folder_that_was_asked_for_goes_before_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_ARTIFACTS", str(tmp_path / "environment"))
    found = Artifacts.of(study(), "sqlite:///x.db")
    assert found.folder.parent == tmp_path / "environment"
    asked = Artifacts.of(study(), "sqlite:///x.db", str(tmp_path / "asked"))
    assert asked.folder.parent == tmp_path / "asked"


def test_databases_that_share_a_root_share_no_file(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    first = Artifacts.of(study(), f"sqlite:///{tmp_path}/a.db", root)
    model = written(first.model(3))
    # Of another database: created at another time. Of a copy: the very same study.
    other = Artifacts.of(study(second=2), f"sqlite:///{tmp_path}/b.db", root)
    copied = Artifacts.of(study(), f"sqlite:///{tmp_path}/copy.db", root)
    assert len({files.folder for files in (first, other, copied)}) == 3
    assert other.find_model(3) is None
    # The copy knows the trial, and may read what it came to; it never removes it.
    assert copied.find_model(3) == model
    assert copied.of_trials() == other.of_trials() == {}
    assert list(first.of_trials()) == [model]


def test_machines_that_share_a_server_and_a_root_share_files(tmp_path: Path) -> None:
    here, there = (
        Artifacts.of(study(), f"postgresql://{host}/lab", str(tmp_path))
        for host in ("me:secret@localhost:5432", "db.lab.example")
    )
    assert here == there


def test_a_default_root_belongs_to_one_database(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}" for name in ("a.db", "a.sqlite")]
    roots = [Artifacts.of(study(), url).folder.parent for url in urls]
    assert [root.name for root in roots] == ["a.artifacts", "a.sqlite.artifacts"]


def test_a_renamed_study_keeps_its_files(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    model = written(Artifacts.of(study("old"), url).model(1))
    assert Artifacts.of(study("new"), url).model(1) == model
    assert Artifacts.of(study("old", second=2), url).find_model(1) is None


@pytest.mark.parametrize("root", [None, "root"])
def test_the_folders_of_older_versions_are_read_and_left_alone(
    tmp_path: Path, root: str | None
) -> None:
    base = tmp_path / (root or "hpo.artifacts")
    model = written(base / "s" / "models" / "trial-000001.pt")
    checkpoint = written(base / "s" / "checkpoints" / "trial-000002.pt")
    given = str(base) if root else None
    files = Artifacts.of(study(), f"sqlite:///{tmp_path}/hpo.db", given)
    assert files.find_model(1) == model
    assert files.latest_checkpoint(2) == checkpoint
    assert files.of_trials() == {}
    assert (model.parent.parent in files.own) == (root is None)
    newer = written(files.checkpoint(2))
    assert files.latest_checkpoint(2) == newer


def test_another_machine_continues_from_what_the_store_holds(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path / "bucket")
    first = Artifacts(tmp_path / "first", ObjectStorePrefix(bucket, "lab/s"))
    second = Artifacts(tmp_path / "second", ObjectStorePrefix(bucket, "lab/s"))
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
    files = Artifacts(tmp_path, ObjectStorePrefix(Away()))
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


@pytest.mark.parametrize(
    ("root", "why"),
    [
        ("/proc/x", "no folder can be made in /proc: "),
        ("file", "file is no folder"),
        ("file/deeper", "file is no folder"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_root_in_which_no_folder_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    spec = StudySpec(
        name="s", task="digits-mlp", metric="val_accuracy", direction="maximize",
        budget={"trials": 1}, space={},
    )  # fmt: skip
    with pytest.raises(LaunchError) as caught:
        start(spec, None, RunOptions("sqlite:///hpo.db", artifacts=root))
    assert caught.value.exit_code == 5
    assert why in caught.value.message
    db = open_database("sqlite:///hpo.db")
    assert study_records.names(db) == []
    db.dispose()
    Artifacts.require_usable(db.url, "sound/and/deep")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("hpo.db")] == [
        "file"
    ]
