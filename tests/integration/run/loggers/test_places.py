"""TensorBoard, MLflow and W&B with their own packages, read back with these; a webhook."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo.run.loggers.logger import LoggedStudy, LoggedTrial, Logger, StudyEnding, TrialEnding
from hpo.store.db.database import Database
from tests.kits.ledger_kit import set_state
from tests.kits.logged_trials import LoggedTrials, value_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Make = Callable[[], Logger]


@pytest.fixture
def trials(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LoggedTrials:
    monkeypatch.chdir(tmp_path)
    return LoggedTrials(sqlite_database, tmp_path)


def interrupted_twice(trials: LoggedTrials, make: Make) -> None:
    """Logs a trial that pauses, whose loggers are killed twice, and another one that fails."""
    lease = trials.claim()
    trials.report(lease, [1, 2])
    trials.follower(make()).step()
    trials.report(lease, [3, 4])
    # Killed after it had logged, before it could note so.
    (trials.folder / "journal.json").unlink(missing_ok=True)
    follower = trials.follower(make())
    follower.step()
    trials.settle(lease, "released", 4)
    follower.step()
    again = trials.claim()
    trials.report(again, [5])
    follower.step()
    logger = make()
    follower = trials.follower(logger)
    trials.report(again, [6])
    trials.settle(again, "complete", 6, value_of(6))
    failing = trials.claim()
    trials.report(failing, [1])
    trials.settle(failing, "failed", 1, message="Traceback\nValueError: broken")
    set_state(trials.db, trials.study_id, "done", "trials")
    follower.step()
    logger.close()


def test_tensorboard_has_each_epoch_once(trials: LoggedTrials, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    from hpo.run.loggers.tensorboard_logger import TensorBoardLogger

    interrupted_twice(trials, lambda: TensorBoardLogger("curves", trials.about))
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "curves"))
    events.Reload()
    runs = sorted(events.Runs())
    assert runs == [f"{trials.about.folder}/trial-0000{n}" for n in (0, 1)]
    curve = [(event.step, event.value) for event in events.Scalars(runs[0], "val_accuracy")]
    assert curve == [(n, pytest.approx(value_of(n), abs=1e-6)) for n in range(1, 7)]
    assert [e.step for e in events.Scalars(runs[0], "train_loss")] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events.Scalars(runs[1], "val_accuracy")] == [1]
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    content = events.SummaryMetadata(runs[0], metadata.SESSION_START_INFO_TAG)
    found = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
    assert set(found.session_start_info.hparams) == {"learning_rate"}
    assert events.Runs()[runs[0]]["scalars"] == [
        "val_accuracy",
        "train_loss",
        "learning_rate",
        "objective/val_accuracy",
    ]


def test_tensorboard_continues_after_a_file_that_ends_within_an_event(
    trials: LoggedTrials, tmp_path: Path
) -> None:
    from hpo.run.loggers.tensorboard_logger import TensorBoardLogger

    lease = trials.claim()
    trials.report(lease, [1, 2, 3])
    trials.follower(TensorBoardLogger("curves", trials.about)).step()
    (file,) = tmp_path.glob("curves/*/trial-00000/events*")
    file.write_bytes(file.read_bytes()[:-20])
    logger = TensorBoardLogger("curves", trials.about)
    trial = LoggedTrial(0, {"learning_rate": 0.5}, 0.0)
    assert logger.begin(trial) == 2
    logger.close()


def test_mlflow_has_each_epoch_once(trials: LoggedTrials, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from hpo.run.loggers.mlflow_logger import MLflowLogger

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    interrupted_twice(trials, lambda: MLflowLogger(uri, trials.about))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    assert experiment.tags["hpo.state"] == "done"
    assert experiment.tags["hpo.best_trial"] == "0"
    failed, complete = client.search_runs([experiment.experiment_id])
    assert (complete.info.run_name, complete.info.status) == ("trial 0", "FINISHED")
    assert (failed.info.run_name, failed.info.status) == ("trial 1", "FAILED")
    assert "ValueError: broken" in failed.data.tags["hpo.message"]
    history = client.get_metric_history(complete.info.run_id, "val_accuracy")
    assert [(m.step, m.value) for m in history] == [(n, value_of(n)) for n in range(1, 7)]
    assert complete.data.metrics["objective/val_accuracy"] == value_of(6)
    assert set(complete.data.params) == {"learning_rate"}
    assert complete.data.tags["hpo.state"] == "COMPLETE"
    assert "test_accuracy" not in str(complete.data)


def test_wandb_has_each_epoch_once(
    trials: LoggedTrials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpo.run.loggers.wandb_logger import WandbLogger, epochs_in

    monkeypatch.setenv("WANDB_MODE", "offline")
    made: list[WandbLogger] = []

    def make() -> WandbLogger:
        # What a killed process has sent is in its file.
        for logger in made:
            logger.close()
        made.append(WandbLogger("project", trials.about))
        return made[-1]

    interrupted_twice(trials, make)
    run_id = f"{trials.about.identity}-0"
    files = sorted(tmp_path.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb"))
    assert len(files) >= 2
    assert [epoch for file in files for epoch in epochs_in(file)] == [1, 2, 3, 4, 5, 6]
    # A file that ends within a record has what is before it.
    cut = tmp_path / "cut.wandb"
    cut.write_bytes(files[0].read_bytes()[:-40])
    assert set(epochs_in(cut)) <= {1, 2}


class _Posts(http.server.BaseHTTPRequestHandler):
    received: list[dict[str, Any]]
    answers: list[int]
    path_asked: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.answers.pop(0) if self.answers else 200
        self.path_asked.append(self.path)
        if code == 200:
            self.received.append(json.loads(body))
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def posts() -> Iterator[type[_Posts]]:
    """What a server on loopback receives; ``answers`` are the codes that it gives first."""
    handler: Any = type("Posts", (_Posts,), {"received": [], "answers": [], "path_asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}/services/T0/s3cretToken"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler
    server.shutdown()
    server.server_close()


def test_a_webhook_is_posted_a_new_best_a_failure_and_the_end(
    trials: LoggedTrials, posts: Any
) -> None:
    from hpo.run.loggers.webhook_logger import WebhookLogger

    posts.answers += [503]
    logger = WebhookLogger(posts.url, trials.about, pause_s=0.01)
    follower = trials.follower(logger)
    follower.step()
    for value in (0.5, 0.4, 0.75):
        trials.settle(trials.claim(), "complete", 1, value)
    trials.settle(trials.claim(), "failed", 1, message="Traceback\nValueError: broken")
    set_state(trials.db, trials.study_id, "done", "trials")
    follower.step()
    trials.follower(logger).step()
    assert [(post["event"], post.get("trial")) for post in posts.received] == [
        ("best", 0),
        ("best", 2),
        ("failed", 3),
        ("done", None),
    ]
    assert posts.received[0]["text"] == "digits: trial 0 is the best so far, val_accuracy 0.5"
    assert posts.received[2]["text"].endswith("failed (user_code): ValueError: broken")
    assert posts.received[3]["best_value"] == 0.75
    assert len({post["id"] for post in posts.received}) == 4


def test_a_webhook_that_refuses_or_redirects_raises_without_its_url(posts: Any) -> None:
    from hpo.run.loggers.webhook_logger import TRIES, WebhookError, WebhookLogger

    about = LoggedStudy("digits", "abc", "digits-abc", ("loss",), ("minimize",))
    trial, best = LoggedTrial(0, {}, 0.0), TrialEnding("COMPLETE", {"loss": 0.5}, 0.0, is_best=True)
    logger = WebhookLogger(posts.url, about, pause_s=0.0)
    for answers, n_asked in (([302], 1), ([404], 1), ([500] * TRIES, TRIES)):
        posts.answers[:], posts.path_asked[:] = answers, []
        with pytest.raises(WebhookError) as caught:
            logger.end(trial, best)
        assert len(posts.path_asked) == n_asked
        assert "s3cret" not in str(caught.value)
        assert "/elsewhere" not in posts.path_asked
    assert posts.received == []
    for wrong in ("file:///etc/passwd", "ftp://host/x", "", "http://"):
        with pytest.raises(ValueError, match="a webhook needs a URL"):
            WebhookLogger(wrong, about)
    logger.finish(StudyEnding("stopped", "every trial fails", True, 3))
    assert posts.received[0]["event"] == "failed"
