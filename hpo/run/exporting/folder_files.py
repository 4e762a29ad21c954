"""Folder files: the names of an export's files, and which folders one may be written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from hpo.errors import SpecError

FORMAT: Final = "hpo-export-1"
CARD: Final = "README.md"
ABOUT: Final = "model.json"
PROGRAM: Final = "model.pt2"
ONNX: Final = "model.onnx"
SCRIPT: Final = "predict.py"
_PLAIN: Final = {CARD, ABOUT, PROGRAM, ONNX, SCRIPT}
_MOST_NAMED: Final = 4


def require_free(folder: Path) -> bool:
    """Makes sure that a folder holds nothing but an earlier export; returns whether it does.

    Raises:
        SpecError: It holds other files, or is no folder.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise SpecError(f"{folder} is a file; -o names a folder")
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return False
    others = [n for n in names if n not in _PLAIN and not _is_weights(n) and n != "__pycache__"]
    if not others and _is_export(folder):
        return True
    shown = ", ".join((others or names)[:_MOST_NAMED])
    more = " and others" if len(others or names) > _MOST_NAMED else ""
    raise SpecError(
        f"{folder} holds other files, which are not overwritten: {shown}{more}",
        hint="name a new folder",
    )


def _is_weights(name: str) -> bool:
    return name.startswith("weights") and name.endswith(".safetensors")


def _is_export(folder: Path) -> bool:
    try:
        found = json.loads((folder / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and str(found.get("format", "")).startswith("hpo-export-")
