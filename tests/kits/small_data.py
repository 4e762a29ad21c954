"""The data sets of the network in a small form: files of the same formats, made of digits."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_digits

from hpo.train.data import downloaded_datasets
from hpo.train.data.downloads import RemoteFile

N_TRAIN, N_TEST = 200, 50


def idx(values: NDArray[Any]) -> bytes:
    """Bytes in the format of MNIST's files."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
    return gzip.compress(header + values.astype(np.uint8).tobytes())


def tar(files: dict[str, bytes]) -> bytes:
    """A compressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def put(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Fills a folder with all data sets of the network, and names it ``$HPO_DATA``.

    The checksums become those of the small files; everything else is as with the real ones.
    """
    patch.setenv("HPO_DATA", str(folder))
    for constant in ("_MNIST", "_FASHION_MNIST"):
        files = getattr(downloaded_datasets, constant)
        sums = {}
        for name, content in _mnist().items():
            sums[name] = _write(folder / files.folder / name, content)
        patch.setattr(downloaded_datasets, constant, dataclasses.replace(files, sha256=sums))
    for constant, content in (("_CIFAR10", _cifar10()), ("_HOUSES", _houses())):
        known: RemoteFile = getattr(downloaded_datasets, constant)
        checksum = _write(folder / known.path, content)
        patch.setattr(downloaded_datasets, constant, dataclasses.replace(known, sha256=checksum))


def _write(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _digits(size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = load_digits(return_X_y=True)
    images = np.kron(x.reshape(-1, 8, 8), np.ones((4, 4))) * 15
    cut = (32 - size) // 2
    return images[:, cut : 32 - cut, cut : 32 - cut].astype(np.uint8), y


def _mnist() -> dict[str, bytes]:
    images, labels = _digits(28)
    files = {}
    for split, rows in (("train", slice(N_TRAIN)), ("t10k", slice(N_TRAIN, N_TRAIN + N_TEST))):
        files[f"{split}-images-idx3-ubyte.gz"] = idx(images[rows])
        files[f"{split}-labels-idx1-ubyte.gz"] = idx(labels[rows])
    return files


def _cifar10() -> bytes:
    images, labels = _digits(32)
    pixels = np.repeat(images[:, None], 3, 1).reshape(len(images), -1)
    records = np.hstack([labels[:, None].astype(np.uint8), pixels])
    n = N_TRAIN // 5
    batches = {f"data_batch_{i + 1}": records[i * n : (i + 1) * n] for i in range(5)}
    batches["test_batch"] = records[N_TRAIN : N_TRAIN + N_TEST]
    return tar({f"cifar-10-batches-bin/{k}.bin": v.tobytes() for k, v in batches.items()})


def _houses() -> bytes:
    """Positive numbers in the order of that file; the value depends on the others."""
    x, y = load_diabetes(return_X_y=True)
    table = np.hstack([10 + 50 * x[:N_TRAIN, :8], y[:N_TRAIN, None] * 1000])
    text = "\n".join(",".join(f"{value:f}" for value in row) for row in table)
    return tar({"CaliforniaHousing/cal_housing.data": text.encode()})
