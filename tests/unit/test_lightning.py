"""Lightning's trainer under hpo's callback: it reports, saves, resumes and stops."""

from __future__ import annotations

import json
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hpo
import hpo.loops.run as run_module
from hpo.errors import TaskError
from hpo.loops.command_backend import CommandBackend
from tests.kits.scripted_backend import Paused, ScriptedBackend, run_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Lightning advises more workers and longer epochs, and its imports use what is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _net(log: str = "val_acc", shuffle: bool = True) -> Any:
    import lightning as L

    class Net(L.LightningModule):
        """Dropout, momentum and a schedule: each has a state."""

        def __init__(self, width: int = 8) -> None:
            super().__init__()
            # Not a plain value, as hyperparameters may be.
            self.save_hyperparameters({"width": width, "folder": Path("x")})
            self.layers = nn.Sequential(
                nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 2)
            )

        def training_step(self, batch: Any, _: int) -> Any:
            loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
            self.log(log, (self.layers(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)]

    return Net()


def _data(n: int = 64, **options: Any) -> DataLoader[Any]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 16, **options)


def _fit(
    backend: ScriptedBackend,
    monitor: str | None = "val_acc",
    own_generator: bool = False,
    run: hpo.Run | None = None,
    **options: Any,
) -> Any:
    """Trains as an objective would, and returns the model."""
    import lightning as L

    import hpo.lightning

    torch.manual_seed(3)
    model = _net()
    generator = torch.Generator().manual_seed(5) if own_generator else None
    defaults = {
        "max_epochs": 5,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [hpo.lightning.Callback(run or run_of(backend), monitor)],
    }
    trainer = L.Trainer(**{**defaults, **options})
    trainer.fit(model, _data(shuffle=True, generator=generator), _data(32))
    return model


@pytest.mark.parametrize("own_generator", [False, True])
def test_a_paused_trial_resumes_to_the_same_weights(tmp_path: Path, own_generator: bool) -> None:
    whole = ScriptedBackend(tmp_path / "whole")
    expected = _fit(whole, own_generator=own_generator).state_dict()
    first = ScriptedBackend(tmp_path / "trial", stop_at=2)
    with pytest.raises(Paused):
        _fit(first, own_generator=own_generator)
    second = ScriptedBackend(tmp_path / "trial", stop_at=4)
    with pytest.raises(Paused):
        _fit(second, own_generator=own_generator)
    third = ScriptedBackend(tmp_path / "trial")
    found = _fit(third, own_generator=own_generator).state_dict()

    assert [*first.reported, *second.reported, *third.reported] == [1, 2, 3, 4, 5]
    assert {**first.reported, **second.reported, **third.reported} == whole.reported
    assert set(whole.reported[1]) >= {"val_acc", "train_loss"}
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_epochs_are_those_of_the_validation(tmp_path: Path) -> None:
    backend = ScriptedBackend(tmp_path / "a")
    _fit(backend, val_check_interval=0.5, num_sanity_val_steps=2)
    assert backend.announced == 5
    assert list(backend.reported) == [1, 2, 3, 4, 5]
    backend = ScriptedBackend(tmp_path / "b")
    _fit(backend, check_val_every_n_epoch=2, max_epochs=6)
    assert backend.announced == 3
    assert list(backend.reported) == [1, 2, 3]
    backend = ScriptedBackend(tmp_path / "c", most=2)
    _fit(backend)
    assert list(backend.reported) == [1, 2]


def test_without_validation_what_training_logs_is_reported(tmp_path: Path) -> None:
    backend = ScriptedBackend(tmp_path)
    _fit(backend, monitor="train_loss", limit_val_batches=0)
    assert list(backend.reported) == [1, 2, 3, 4, 5]
    assert set(backend.metrics) == {"train_loss"}


def test_early_stopping_of_the_trainers_own_ends_the_reports(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import EarlyStopping

    import hpo.lightning

    backend = ScriptedBackend(tmp_path)
    stopping = EarlyStopping("val_acc", mode="max", patience=1, min_delta=1.0)
    _fit(backend, callbacks=[stopping, hpo.lightning.Callback(run_of(backend), "val_acc")])
    assert list(backend.reported) == [1, 2]


def test_what_is_optimised_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"which of .*val_acc.* is optimised"):
        _fit(ScriptedBackend(tmp_path), monitor=None)
    with pytest.raises(TaskError, match="did you mean val_acc"):
        _fit(ScriptedBackend(tmp_path), monitor="val_ac")
    with pytest.raises(TaskError, match="max_epochs"):
        _fit(ScriptedBackend(tmp_path), max_epochs=-1, max_steps=3)
    backend = ScriptedBackend(tmp_path, metric="val_acc")
    _fit(backend, monitor=None)
    assert set(backend.metrics) == {"val_acc"}


def test_a_damaged_checkpoint_and_lost_reports_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kept").write_bytes(b"no checkpoint")
    backend = ScriptedBackend(tmp_path, stop_at=3)
    with pytest.raises(Paused):
        _fit(backend)
    assert list(backend.reported) == [1, 2, 3]
    assert "cannot be read" in caplog.text
    backend = ScriptedBackend(tmp_path, epoch=2)
    _fit(backend)
    assert list(backend.reported) == [1, 2, 3, 4, 5]
    assert "ahead of the reports" in caplog.text


def test_a_script_that_is_a_command_is_paused_by_its_worker_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _fit(ScriptedBackend(tmp_path / "whole")).state_dict()
    trial = tmp_path / "trial"
    for name, value in {"TRIAL_DIR": trial, "METRIC": "val_acc", "DIRECTION": "maximize"}.items():
        monkeypatch.setenv(f"HPO_{name}", str(value))
    place = ScriptedBackend(trial)
    with _worker(tmp_path / "socket", stop_at=2) as path:
        monkeypatch.setenv("HPO_SOCKET", path)
        backend = CommandBackend()
        monkeypatch.setattr(run_module, "backend_of", lambda _: backend)
        with pytest.raises(SystemExit) as ended:
            _fit(place, run=hpo.Run())
        # As the end of the script does.
        backend._worker._close()
    monkeypatch.undo()
    for name, value in {"TRIAL_DIR": trial, "METRIC": "val_acc", "DIRECTION": "maximize"}.items():
        monkeypatch.setenv(f"HPO_{name}", str(value))
    assert ended.value.code == 0
    monkeypatch.setenv("HPO_REPORTED", "2")
    found = _fit(place, run=hpo.Run()).state_dict()
    lines = (trial / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@contextmanager
def _worker(path: Path, stop_at: int) -> Iterator[str]:
    """Answers a script over a socket, and lets it save and stop after an epoch."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rw", encoding="utf-8") as file:
                for line in file:
                    is_last = json.loads(line).get("epoch") == stop_at
                    file.write(json.dumps({"stop": is_last, "save": is_last}) + "\n")
                    file.flush()
                    if is_last:
                        return

        thread = threading.Thread(target=answer)
        thread.start()
        yield str(path)
        thread.join(10)
