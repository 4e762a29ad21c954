"""Images in folders, one folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hpo.errors import TaskError
from hpo.train.data.dataset import Data

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SPLITS: Final = {"train", "test"}


def image_folder(path: str | Path, *, size: int = 32, grayscale: bool = False) -> Data:
    """Returns the images of a folder, whose folders are the classes.

    With a ``train`` and a ``test`` folder, each of which holds those of the classes, the test split
    is the latter; else it is cut off.

    Args:
        path: The folder.
        size: Height and width in pixels that all images are brought to.
        grayscale: Whether an image is of shape [1, size, size] instead of [3, size, size].

    Returns:
        Pixels from 0 to 1.

    Raises:
        TaskError: Pillow is not installed, there is no such folder, or it holds fewer than two
            classes, or a file that is no image.
    """
    root = Path(path)
    if not root.is_dir():
        raise TaskError(f"no folder of images: {root}")
    if {folder.name for folder in _folders(root)} == _SPLITS:
        train, test = (_read(root / split, size, grayscale) for split in ("train", "test"))
        return Data.split(*train, test=test)
    return Data.split(*_read(root, size, grayscale))


def _read(root: Path, size: int, grayscale: bool) -> tuple[NDArray[np.float32], list[str]]:
    files = [
        (file, folder.name)
        for folder in _folders(root)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if len({name for _, name in files}) < 2:
        raise TaskError(
            f"{root} must hold a folder of images for each class, two at least",
            hint=f"images are files ending in {', '.join(SUFFIXES)}",
        )
    pixels = np.stack([_pixels(file, size, grayscale) for file, _ in files])
    return pixels, [name for _, name in files]


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _pixels(file: Path, size: int, grayscale: bool) -> NDArray[np.float32]:
    image = _pillow()
    try:
        with image.open(file) as opened:
            mode = "L" if grayscale else "RGB"
            resized = opened.convert(mode).resize((size, size), image.Resampling.BILINEAR)
    except OSError as error:
        raise TaskError(f"{file} cannot be read: {error}") from error
    values = np.asarray(resized, dtype=np.float32).reshape(size, size, -1) / 255
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise TaskError(
            "reading images needs Pillow", hint="install it with: pip install 'hpo[vision]'"
        ) from error
    return Image
