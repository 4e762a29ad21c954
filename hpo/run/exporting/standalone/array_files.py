"""Array files: samples read from .npy, .pt and image files, with torch alone."""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from hpo.run.exporting.standalone.csv_rows import InputError

_NPY_TYPES: Final = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
_IMAGE_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def read_array_file(path: Path) -> Any:
    """Reads what a .npy or .pt file holds.

    Raises:
        InputError: It holds no tensor.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    if path.suffix.lower() not in (".pt", ".pth"):
        raise InputError(f"{path.name} must be one of .npy, .pt by its name")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path.name} holds no tensors: {reason}") from error


def _read_npy(path: Path) -> Tensor:
    content = path.read_bytes()
    try:
        if content[:6] != b"\x93NUMPY":
            raise InputError("it is no .npy file")
        wide = content[6] > 1
        (n_header,) = struct.unpack_from("<I" if wide else "<H", content, 8)
        begin = (12 if wide else 10) + n_header
        header = ast.literal_eval(content[begin - n_header : begin].decode("latin-1"))
        dtype, shape = _NPY_TYPES.get(header["descr"][1:]), tuple(header["shape"])
        if dtype is None or header["descr"][0] == ">":
            raise InputError(f"its type {header['descr']} is not supported")
        if len(content) - begin != math.prod(shape) * dtype.itemsize:
            raise InputError("it is cut off")
    except (InputError, ValueError, SyntaxError, KeyError, IndexError, struct.error) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error
    if not math.prod(shape):
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(bytearray(content[begin:]), dtype=dtype)
    if not header["fortran_order"]:
        return flat.reshape(shape)
    return flat.reshape(shape[::-1]).permute(*reversed(range(len(shape)))).contiguous()


def image_files(path: Path) -> list[Path]:
    """Returns the images of a folder and its folders, or a file itself.

    Raises:
        InputError: There are none.
    """
    if path.is_file():
        return [path]
    found = sorted(f for f in path.rglob("*") if f.suffix.lower() in _IMAGE_ENDINGS)
    if not found:
        raise InputError(f"{path} is no image, and no folder that holds one")
    return found


def read_images(files: Sequence[Path], images: Mapping[str, Any]) -> Tensor:
    """Returns images as the study read them, of shape [N, C, H, W], float32 from 0 to 1.

    Args:
        files: The images.
        images: Their ``size`` in pixels, and whether they are ``grayscale``.

    Raises:
        InputError: Pillow is not installed, or a file is no image.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise InputError(
            "reading images needs Pillow (pip install pillow); without it, give a .npy or .pt file "
            "of pixels from 0 to 1"
        ) from None
    size, found = images["size"], []
    for file in files:
        try:
            with Image.open(file) as opened:
                colours = opened.convert("L" if images["grayscale"] else "RGB")
                resized = colours.resize((size, size), Image.Resampling.BILINEAR)
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        found.append(pixels.reshape(size, size, -1).permute(2, 0, 1).float() / 255)
    return torch.stack(found)
