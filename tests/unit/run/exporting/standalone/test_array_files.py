"""Arrays are read without NumPy as NumPy wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hpo.run.exporting.standalone.array_files import read_array_file
from hpo.run.exporting.standalone.csv_rows import InputError


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?"])
def test_arrays_of_every_type(dtype: str, tmp_path: Path) -> None:
    array = (np.arange(24).reshape(2, 3, 4) - 7).astype(dtype)
    for values in (array, np.asfortranarray(array), array[:0], array[:, 1]):
        np.save(tmp_path / "x.npy", values)
        found = read_array_file(tmp_path / "x.npy")
        np.testing.assert_array_equal(found.numpy(), values)
        assert found.numpy().dtype == values.dtype


def test_tensors(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": torch.zeros(3)}, tmp_path / "x.pt")
    assert read_array_file(tmp_path / "x.pt")["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"no", "it is no .npy file"),
        ("x.npy", b"\x93NUMPY\x01\x00\x05\x00{'a':", "cannot be read"),
        ("x.pt", b"no", "holds no tensors"),
        ("x.csv", b"1,2", "must be one of .npy, .pt"),
    ],
)
def test_what_is_no_array_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_array_file(tmp_path / name)


def test_arrays_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "big.npy", np.ones(3, dtype=">f8"))
    with pytest.raises(InputError, match="its type >f8 is not supported"):
        read_array_file(tmp_path / "big.npy")
    np.save(tmp_path / "x.npy", np.ones(3))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-1])
    with pytest.raises(InputError, match="it is cut off"):
        read_array_file(tmp_path / "x.npy")
    with pytest.raises(InputError, match="no file"):
        read_array_file(tmp_path / "y.npy")
