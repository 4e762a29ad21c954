"""Data sets from the network, which is a server of this machine's own."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hpo import data
from hpo.errors import TaskError
from hpo.train.data import downloaded_datasets, downloads
from hpo.train.data.downloads import RemoteFile, fetch
from tests.kits.small_data import idx, tar


class Web(ThreadingHTTPServer):
    """Serves what is put into ``files``, and counts how often."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def remote(self, name: str, content: bytes, *urls: str) -> RemoteFile:
        self.files[name] = content
        return RemoteFile(name, hashlib.sha256(content).hexdigest(), (*urls, self.url(name)))


class Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.asked.append(name)
        content = self.server.files.get(name)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPO_DATA", str(tmp_path / "data"))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return tmp_path / "data"


def test_a_file_is_fetched_once(web: Web, folder: Path) -> None:
    wanted = web.remote("a.gz", b"content")
    for _ in range(2):
        assert fetch(wanted) == folder / "a.gz"
    assert (folder / "a.gz").read_bytes() == b"content"
    assert web.asked == ["a.gz"]


def test_many_who_want_a_file_fetch_it_once(web: Web) -> None:
    wanted = web.remote("a.gz", os.urandom(2**20))
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch(wanted), range(4)))
    assert len(paths) == len(web.asked) == 1


def test_a_file_that_was_damaged_is_fetched_again(web: Web, folder: Path) -> None:
    wanted = web.remote("a.gz", b"content")
    fetch(wanted)
    (folder / "a.gz").write_bytes(b"contend")
    assert fetch(wanted).read_bytes() == b"content"


def test_the_next_place_is_asked_where_the_first_fails(web: Web) -> None:
    web.files["bad"] = b"contend"
    wanted = web.remote("a.gz", b"content", web.url("none"), web.url("bad"))
    assert fetch(wanted).read_bytes() == b"content"
    assert web.asked == ["none", "bad", "a.gz"]


def test_what_comes_damaged_is_not_kept(web: Web, folder: Path) -> None:
    wanted = web.remote("a.gz", b"content")
    web.files["a.gz"] = b"contend"
    with pytest.raises(TaskError, match=r"cannot download a.gz: .* damaged") as caught:
        fetch(wanted)
    assert f"{folder}/a.gz" in str(caught.value.hint)
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


def test_without_a_network_the_error_says_where_the_file_belongs(web: Web, folder: Path) -> None:
    wanted = dataclasses.replace(web.remote("a", b"x"), urls=("http://127.0.0.1:9/a",))
    with pytest.raises(TaskError, match=r"cannot download a: http://127.0.0.1:9/a: .*refused"):
        fetch(wanted)
    (folder / "a").write_bytes(b"x")
    assert fetch(wanted).read_bytes() == b"x"


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPO_DATA", str(tmp_path / "file"))
    with pytest.raises(TaskError, match="cannot keep") as caught:
        fetch(web.remote("a", b"x"))
    assert "$HPO_DATA" in str(caught.value.hint)


def test_the_folder_is_the_users_cache_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_DATA")
    assert downloads.folder().parts[-2:] == ("hpo", "data")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images_in_the_format_of_mnist(
    name: str, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = load_digits(return_X_y=True)
    images = np.kron(x.reshape(-1, 8, 8), np.ones((3, 3))) * 15
    for split, rows in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        web.files[f"{split}-images-idx3-ubyte.gz"] = idx(images[rows])
        web.files[f"{split}-labels-idx1-ubyte.gz"] = idx(y[rows])
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in web.files.items()}
    constant = f"_{name.upper()}"
    files = dataclasses.replace(
        getattr(downloaded_datasets, constant), urls=(web.url("").rstrip("/"),), sha256=sums
    )
    assert getattr(downloaded_datasets, constant).sha256.keys() == sums.keys()
    monkeypatch.setattr(downloaded_datasets, constant, files)
    splits = getattr(data, name)().splits()
    assert splits.test is not None
    assert (splits.in_shape, splits.n_classes) == ((1, 24, 24), 10)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (240, 60, 100)
    assert splits.test.y.tolist() == y[300:400].tolist()
    expected = images[300:400] / 255
    np.testing.assert_allclose(splits.test.x[:, 0].numpy(), expected, rtol=1e-6)


def test_cifar10(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    records = random.randint(256, size=(6, 20, 1 + 3072)).astype(np.uint8)
    records[:, :, 0] = np.arange(20) % 10
    content = tar(
        {
            f"cifar-10-batches-bin/{name}.bin": batch.tobytes()
            for name, batch in zip(names, records, strict=True)
        }
    )
    monkeypatch.setattr(downloaded_datasets, "_CIFAR10", web.remote("cifar.tar.gz", content))
    splits = data.cifar10().splits()
    assert splits.test is not None
    assert (splits.in_shape, len(splits.train) + len(splits.val)) == ((3, 32, 32), 100)
    assert splits.test.y.tolist() == list(range(10)) * 2
    np.testing.assert_allclose(
        splits.test.x.numpy(), records[5, :, 1:].reshape(20, 3, 32, 32) / 255, rtol=1e-6
    )


def test_california_housing(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first district of the file, with the features that scikit-learn documents."""
    row = "-122.23,37.88,41.0,880.0,129.0,322.0,126.0,8.3252,452600.0"
    other = "-122.22,37.86,21.0,7099.0,1106.0,2401.0,1138.0,8.3014,358500.0"
    text = "\n".join([row, other] * 5).encode()
    content = tar({"CaliforniaHousing/cal_housing.data": text})
    monkeypatch.setattr(downloaded_datasets, "_HOUSES", web.remote("houses.tgz", content))
    loaded = data.california_housing()
    assert (loaded.kind, loaded.n_rows) == ("regression", 10)
    plan: Any = loaded.plan
    expected = [8.3252, 41.0, 6.98412698, 1.02380952, 322.0, 2.55555556, 37.88, -122.23]
    np.testing.assert_allclose(plan.x[0], expected)
    assert plan.targets.y[:2].tolist() == pytest.approx([4.526, 3.585])
    splits = loaded.splits()
    assert splits.train.x.mean(0).abs().max() < 1e-5
