"""Text of study files: read from disk, or refused with what the path holds instead."""

from __future__ import annotations

import shlex
from itertools import islice
from pathlib import Path
from typing import Final

from hpo.errors import SpecError, nearest
from hpo.spec import ready_made

_TABLES: Final = tuple(
    ending + packed
    for ending in (".csv", ".tsv", ".parquet", ".pq")
    for packed in ("", ".gz", ".bz2", ".xz")
)
_IMAGES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_MAX_LOOKED_AT: Final = 1_000
_LARGEST_BYTES: Final = 1_000_000


def read_text(path: str | Path) -> str:
    """Reads the text of a study file; a byte order mark is left out.

    Raises:
        SpecError: There is no such file, or it cannot be a study file.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file.{_suggestion(file)}") from None
    except IsADirectoryError:
        raise _folder_error(file) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"{path} cannot be read: {reason.lower()}") from None
    _require_no_other(file)
    if len(content) > _LARGEST_BYTES:
        raise SpecError(f"{path} is larger than a study file can be (1 MB)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path} is not UTF-8 text (line {line}); save it as UTF-8") from None


def is_named_as_a_file(name: str) -> bool:
    """Returns whether a name is a file's and not a study's, by its suffix."""
    return name.lower().endswith((".toml", ".py", *_TABLES))


def _require_no_other(file: Path) -> None:
    """Refuses Python code and tables, and hints at the command that uses them."""
    suffix, name = file.suffix.lower(), shlex.quote(str(file))
    if suffix == ".py":
        raise SpecError(
            f"{file} is Python code, not a study file",
            hint=f"`hpo run --objective {name}:FUNCTION` runs an Optuna objective, "
            f"`hpo init --task {name}:CLASS` writes a study of a task, and "
            f"`hpo run --metric NAME --trials N -- python {name} --lr '~log(1e-4, 1e-1)'` tunes "
            "a script by its options",
        )
    if _is_table(file):
        raise SpecError(
            f"{file} is a table, not a study file",
            hint=f"`hpo init --data {name} --target COLUMN` writes a study of it",
        )


def _suggestion(missing: Path) -> str:
    """Returns a hint at the study file whose name is closest to a missing one."""
    if missing.suffix != ".toml" and is_named_as_a_file(missing.name):
        return _twin(missing)
    files = {file.name: file for file in (*_studies(Path("studies")), *_studies(missing.parent))}
    name = missing.name if missing.suffix == ".toml" else f"{missing.name}.toml"
    match = name if name in files else nearest(name, files)
    if match:
        return f" Did you mean {files[match]}?"
    shipped = ready_made.find(missing.name)
    return (
        f" `hpo run {shipped.stem.replace('_', '-')}` runs the ready-made one." if shipped else ""
    )


def _twin(missing: Path) -> str:
    """Returns a hint at the file of the same suffix whose name is closest to a missing one."""
    match = nearest(missing.name, [f.name for f in missing.parent.glob(f"*{missing.suffix}")])
    return f" Did you mean {missing.parent / match}?" if match else ""


def _folder_error(folder: Path) -> SpecError:
    """Returns the error for a folder, with a hint how to use what it holds."""
    names = sorted(map(str, _studies(folder)))[:5]
    if names:
        return SpecError(f"{folder} is a folder. Name one of its files: {', '.join(names)}")
    name = shlex.quote(str(folder))
    if any(file.suffix.lower() in _IMAGES for file in islice(folder.glob("*/*"), _MAX_LOOKED_AT)):
        return SpecError(
            f"{folder} is a folder of images, not a study file",
            hint=f"`hpo init --data {name}` writes a study of it",
        )
    table = min((str(file) for file in folder.iterdir() if _is_table(file)), default=None)
    hint = f"`hpo init --data {shlex.quote(table or '')} --target COLUMN` writes one of its table"
    return SpecError(f"{folder} is a folder that holds no study file", hint=hint if table else None)


def _is_table(file: Path) -> bool:
    return file.name.lower().endswith(_TABLES)


def _studies(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.glob("*.toml") if file.is_file())
    except (OSError, ValueError):
        return []
