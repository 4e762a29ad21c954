"""Ready-made studies: study files that are installed with hpo."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# In a checkout the files are beside the package, in a wheel inside it.
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_FOLDERS: Final = (_PACKAGE / "_studies", _PACKAGE.parent / "studies")
# A folder `studies` beside an installed package may be unrelated; this file identifies hpo's.
_KNOWN: Final = "digits_mlp.toml"


def files() -> dict[str, Path]:
    """Returns the files of the ready-made studies by the names of their studies, sorted."""
    folder = next((f for f in _FOLDERS if (f / _KNOWN).is_file()), None)
    found = [] if folder is None else folder.glob("*.toml")
    return {file.stem.replace("_", "-"): file for file in sorted(found)}


def find(name: str) -> Path | None:
    """Returns the file of a ready-made study: ``digits-mlp``, ``digits_mlp`` or its file name."""
    return files().get(Path(name).name.removesuffix(".toml").replace("_", "-"))
