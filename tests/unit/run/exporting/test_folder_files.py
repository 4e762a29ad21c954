"""An export is written to a folder that holds nothing, or an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.run.exporting.folder_files import require_free


def test_new_and_empty_folders_are_free(tmp_path: Path) -> None:
    assert not require_free(tmp_path / "new")
    assert not require_free(tmp_path)


def test_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"format": "hpo-export-1"}')
    for name in ("README.md", "predict.py", "weights-12.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "__pycache__").mkdir()
    assert require_free(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": ""},
        {"README.md": "of a person"},
        {"model.json": '{"format": "mine"}'},
        {"model.json": "[]"},
        {"model.json": '{"format": "hpo-export-1"}', "notes.txt": ""},
    ],
)
def test_other_files_are_never_overwritten(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(SpecError, match=f"holds other files.*{list(files)[-1]}"):
        require_free(tmp_path)
    with pytest.raises(SpecError, match="is a file"):
        require_free(tmp_path / next(iter(files)))
