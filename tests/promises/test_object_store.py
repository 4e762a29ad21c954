"""Machines without a common folder share models through an object store: a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from tests.promises.conftest import Installed

pytestmark = pytest.mark.e2e


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").create_bucket(Bucket="lab")
    yield bucket
    bucket.meta.client.close()
    server.stop()


def test_a_model_that_one_machine_trained_predicts_on_another(
    installed: Installed, bucket: object
) -> None:
    place = ("--artifacts", "s3://lab/studies")
    output = installed.hpo("run", "digits-mlp", "--trials", "3", "--epochs", "3", *place)
    assert "3/3 trials" in output
    assert "warning" not in output
    names = [stored.key for stored in bucket.objects.all()]  # type: ignore[attr-defined]
    assert names
    assert all(name.startswith("studies/") for name in names)

    # Another machine: the same database, none of the files.
    assert all(path.name.startswith("hpo.db") for path in installed.folder.iterdir())
    (installed.folder.parent / "home").rename(installed.folder.parent / "other home")
    np.save(installed.folder / "x.npy", np.zeros((2, 64), dtype=np.float32))
    predicted = installed.hpo("predict", "digits-mlp", "x.npy", *place, "-f", "json")
    assert predicted.count("prediction") == 2
