"""Data sets that are downloaded when they are first used: images, and houses in California.

The files of MNIST and Fashion-MNIST lie where torchvision keeps them, so that ``$HPO_DATA`` may
name a folder that it filled.
"""

from __future__ import annotations

import gzip
import math
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hpo.train.data.dataset import Data, Preprocess
from hpo.train.data.downloads import RemoteFile, fetch

_FILES: Final = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_HOUSES: Final = RemoteFile(
    "cal_housing.tgz",
    "aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
    ("https://ndownloader.figshare.com/files/5976036",),
)
_CIFAR10: Final = RemoteFile(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)


@dataclass(frozen=True)
class _Idx:
    """A data set in the format of MNIST.

    Attributes:
        folder: Where its files are kept.
        urls: Folders in the network.
        sha256: Checksum of each file.
    """

    folder: str
    urls: tuple[str, ...]
    sha256: Mapping[str, str]

    def remote(self, name: str) -> RemoteFile:
        """Returns one of the files."""
        urls = tuple(f"{url}/{name}" for url in self.urls)
        return RemoteFile(f"{self.folder}/{name}", self.sha256[name], urls)


_MNIST: Final = _Idx(
    "MNIST/raw",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
)
_FASHION_MNIST: Final = _Idx(
    "FashionMNIST/raw",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
    {
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    },
)


def mnist() -> Data:
    """Returns 70,000 handwritten digits of 28x28 pixels from 0 to 1, [1, 28, 28], in 10 classes.

    10,000 of them are the test split; validation is cut off the others. Source: LeCun et al. 1998,
    Gradient-based learning applied to document recognition.

    Raises:
        TaskError: The files are not there and cannot be downloaded.
    """
    return _idx_images(_MNIST)


def fashion_mnist() -> Data:
    """Returns 70,000 pieces of clothing in the form of ``mnist``.

    Source: Xiao et al. 2017, Fashion-MNIST: a novel image dataset for benchmarking.

    Raises:
        TaskError: The files are not there and cannot be downloaded.
    """
    return _idx_images(_FASHION_MNIST)


def cifar10() -> Data:
    """Returns 60,000 photographs of 32x32 pixels from 0 to 1, [3, 32, 32], in 10 classes.

    10,000 of them are the test split; validation is cut off the others. Source: Krizhevsky 2009,
    Learning multiple layers of features from tiny images.

    Raises:
        TaskError: The file is not there and cannot be downloaded.
    """
    names = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    with tarfile.open(fetch(_CIFAR10)) as archive:
        train, test = (
            b"".join(_member(archive, f"cifar-10-batches-bin/{name}") for name in names[split])
            for split in ("train", "test")
        )
    return _images(*_cifar_records(train), *_cifar_records(test))


def california_housing(*, preprocess: Preprocess | None = None) -> Data:
    """Returns 20,640 districts with 8 measurements; a regression of the median house value.

    The features are those of scikit-learn, the targets in 100,000 dollars. Source: Pace and Barry
    1997, Sparse spatial autoregressions.

    Args:
        preprocess: Instead of standardising the features by the training rows.

    Raises:
        TaskError: The file is not there and cannot be downloaded.
    """
    from sklearn.preprocessing import StandardScaler

    with tarfile.open(fetch(_HOUSES)) as archive:
        text = _member(archive, "CaliforniaHousing/cal_housing.data").decode()
    table = np.loadtxt(text.splitlines(), delimiter=",")
    longitude, latitude, age, rooms, bedrooms, people, households, income, value = table.T
    features = [income, age, rooms / households, bedrooms / households]
    features += [people, people / households, latitude, longitude]
    x, y = np.stack(features, 1), value / 100_000
    return Data.split(x, y, preprocess=preprocess or StandardScaler())


def _idx_images(files: _Idx) -> Data:
    arrays = [_read_idx(fetch(files.remote(n))) for names in _FILES.values() for n in names]
    x, y, x_test, y_test = arrays
    return _images(x[:, None], y, x_test[:, None], y_test)


def _images(x: Any, y: Any, x_test: Any, y_test: Any) -> Data:
    pixels, test_pixels = (np.divide(part, 255, dtype=np.float32) for part in (x, x_test))
    return Data.split(pixels, y, test=(test_pixels, y_test))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Reads a file of bytes: two zeros, the type 8, the number of dimensions, each, then values."""
    with gzip.open(path) as file:
        n_dimensions = file.read(4)[3]
        shape = tuple(np.frombuffer(file.read(4 * n_dimensions), dtype=">i4").tolist())
        return np.frombuffer(file.read(math.prod(shape)), dtype=np.uint8).reshape(shape)


def _cifar_records(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
