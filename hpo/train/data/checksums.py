"""Checksums: a digest of a task's data, to tell whether it is what a model was trained on."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import Tensor


def digest_of(*arrays: Any) -> str:
    """Returns the first 16 digits of the SHA-256 of features and targets.

    Args:
        *arrays: Tensors, arrays, sparse matrices or tables.
    """
    digest = hashlib.sha256()
    for array in arrays:
        _add(digest, array)
    return digest.hexdigest()[:16]


def _add(digest: Any, values: Any) -> None:
    if hasattr(values, "columns") and hasattr(values, "dtypes"):
        for i, name in enumerate(values.columns):
            digest.update(str(name).encode(errors="surrogatepass"))
            _add(digest, values.iloc[:, i].to_numpy())
        return
    if hasattr(values, "tocoo"):
        sparse = values.tocoo()
        for part in (sparse.row, sparse.col, sparse.data):
            _add(digest, part)
        return
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    digest.update(f"{array.shape}{array.dtype.str}".encode())
    if array.dtype.kind == "O":
        texts = (str(value).encode(errors="surrogatepass") for value in array.ravel())
        digest.update(b"\0".join(texts))
    else:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
