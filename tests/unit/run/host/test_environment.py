"""The environment of a study: its files, its commit, and what is not read."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpo.run.host import environment
from hpo.spec.study_spec import StudySpec


def spec_of(**values: Any) -> StudySpec:
    return StudySpec(name="s", metric="loss", direction="minimize", **values)


def git(folder: Path, *arguments: str) -> str:
    identity = {
        f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **identity}
    )
    return done.stdout.strip()


def test_the_commit_and_the_files_that_a_study_names(tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)")
    (folder / "table.csv").write_text("a,b\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "all")
    spec = spec_of(
        command="python train.py --data=table.csv --lr {lr} --out {trial_dir}",
        space={"lr": {"low": 0.1, "high": 1.0}},
        budget={"trials": 1},
    )
    found = environment.of_study(spec, folder)
    assert found.commit == git(tmp_path, "rev-parse", "HEAD")
    assert (found.folder, found.is_modified) == ("experiments", False)
    assert found.files == {
        "train.py": hashlib.sha256(b"print(1)").hexdigest(),
        "table.csv": hashlib.sha256(b"a,b\n").hexdigest(),
    }
    assert found.packages["torch"]
    (folder / "train.py").write_text("print(2)")
    assert environment.of_study(spec, folder).is_modified is True


def test_a_folder_without_a_repository_has_files_and_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "model.py").write_text("")
    monkeypatch.setattr(environment, "LARGEST_FILE", 10)
    (tmp_path / "large.csv").write_text("more than ten bytes")
    options = {"data": "large.csv", "target": "y", "other": "x" * 5_000}
    spec = spec_of(task="model.py:Net", task_options=options, budget={"trials": 1})
    found = environment.of_study(spec, tmp_path)
    assert (found.commit, found.is_modified) == ("", None)
    assert found.files == {"large.csv": "", "model.py": hashlib.sha256(b"").hexdigest()}


def test_a_folder_that_only_the_database_names_is_not_read(tmp_path: Path) -> None:
    found = environment.of_study(spec_of(task="model.py:Net", budget={"trials": 1}), None)
    assert (found.commit, found.files) == ("", {})
    assert found.packages
