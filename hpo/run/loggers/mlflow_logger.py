"""MLflow logger: an experiment for each study, and in it a run for each trial.

Epochs are metrics with the epoch as their step. Each run is tagged with its study and trial, so
that a trial which is resumed, here or on another machine, continues its run.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from hpo.run.loggers.logger import LoggedEpoch, LoggedStudy, LoggedTrial, StudyEnding, TrialEnding

STUDY_TAG: Final = "hpo.study"
TRIAL_TAG: Final = "hpo.trial"
STATE_TAG: Final = "hpo.state"
DEFAULT_FILE: Final = "mlflow.db"
_MOST_METRICS: Final = 1_000
_MOST_PARAMS: Final = 100
_LONGEST_VALUE: Final = 5_000
_LONGEST_KEY: Final = 250
_PAGE: Final = 1_000
_ENDS: Final = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}


class MLflowLogger:
    """Logs to a tracking server or a database of MLflow.

    Args:
        target: Its URI; by default ``$MLFLOW_TRACKING_URI``, or else ``mlflow.db`` in the current
            folder, as MLflow has it.
        study: The study.
    """

    def __init__(self, target: str | None, study: LoggedStudy) -> None:
        uri = target or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(
            tracking_uri=uri or f"sqlite:///{Path(DEFAULT_FILE).absolute()}"
        )
        self._study = study
        self._experiment = self._find_experiment()
        self._runs = self._find_runs()
        self._running: set[int] = set()

    def begin(self, trial: LoggedTrial) -> int:
        """Creates the run of a trial or resumes it; returns its last epoch, -1 for none."""
        run_id = self._runs.get(trial.number)
        if run_id is None:
            self._runs[trial.number] = self._create(trial)
            self._running.add(trial.number)
            return -1
        self._client.update_run(run_id, status="RUNNING")
        self._running.add(trial.number)
        return self._last_epoch(run_id)

    def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
        """Logs whole epochs, in as few requests as MLflow allows."""
        run_id = self._runs[trial.number]
        batch: list[Metric] = []
        for epoch in epochs:
            metrics = _metrics(epoch.metrics, epoch.at, epoch.epoch)
            if len(batch) + len(metrics) > _MOST_METRICS:
                self._client.log_batch(run_id, metrics=batch)
                batch = []
            batch += metrics[:_MOST_METRICS]
        self._client.log_batch(run_id, metrics=batch)

    def pause(self, trial: LoggedTrial) -> None:
        """Marks a run as scheduled, MLflow's word for one that is to run later."""
        self._client.update_run(self._runs[trial.number], status="SCHEDULED")
        self._running.discard(trial.number)

    def end(self, trial: LoggedTrial, ending: TrialEnding) -> None:
        """Ends a run: finished if the trial is complete or pruned, else failed."""
        run_id = self._runs.get(trial.number) or self._create(trial)
        values = {f"objective/{name}": value for name, value in ending.values.items()}
        tags = {STATE_TAG: ending.state, "hpo.reason": ending.reason}
        if ending.best_epoch is not None:
            tags["hpo.best_epoch"] = str(ending.best_epoch)
        if ending.message and ending.state == "FAIL":
            tags["hpo.message"] = ending.message[-_LONGEST_VALUE:]
        # The same time and step each time, so that a repetition adds nothing.
        metrics = _metrics(values, ending.at, ending.best_epoch or 0)
        shown = [RunTag(name, value) for name, value in tags.items() if value]
        self._client.log_batch(run_id, metrics=metrics, tags=shown)
        status = _ENDS.get(ending.state, "FINISHED")
        self._client.set_terminated(run_id, status, end_time=round(1000 * ending.at))
        self._runs.pop(trial.number, None)
        self._running.discard(trial.number)

    def finish(self, ending: StudyEnding) -> None:
        """Tags the experiment with the study's state and its best trial."""
        tags = {STATE_TAG: ending.state, "hpo.best_trial": str(ending.best)}
        for name, value in tags.items():
            self._client.set_experiment_tag(self._experiment, name, value)

    def close(self) -> None:
        """Marks runs whose trials are interrupted."""
        for number in sorted(self._running):
            self._client.update_run(self._runs[number], status="SCHEDULED")
        self._running.clear()

    def _find_experiment(self) -> str:
        known = self._client.get_experiment_by_name(self._study.name)
        if known is not None:
            return str(known.experiment_id)
        return str(self._client.create_experiment(self._study.name))

    def _find_runs(self) -> dict[int, str]:
        """Returns the runs of the study that are there, by trial."""
        found, token = {}, None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`{STUDY_TAG}` = '{self._study.identity}'",
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                number = run.data.tags.get(TRIAL_TAG, "")
                if number.isdecimal():
                    found[int(number)] = run.info.run_id
            token = page.token
            if not token:
                return found

    def _create(self, trial: LoggedTrial) -> str:
        run = self._client.create_run(
            self._experiment,
            start_time=round(1000 * trial.began_at),
            tags={STUDY_TAG: self._study.identity, TRIAL_TAG: str(trial.number)},
            run_name=f"trial {trial.number}",
        )
        run_id = str(run.info.run_id)
        params = [Param(_key(k), str(v)[:_LONGEST_VALUE]) for k, v in trial.params.items()]
        for i in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run_id, params=params[i : i + _MOST_PARAMS])
        return run_id

    def _last_epoch(self, run_id: str) -> int:
        """Returns the last epoch of a run; an epoch is logged as a whole."""
        known = [k for k in self._client.get_run(run_id).data.metrics if k[:10] != "objective/"]
        names = [_key(name) for name in self._study.metrics if _key(name) in known] or known
        if not names:
            return -1
        return max(metric.step for metric in self._client.get_metric_history(run_id, names[0]))


def _metrics(values: Mapping[str, float], at: float, step: int) -> list[Metric]:
    moment = round(1000 * at)
    return [Metric(_key(name), _number(value), moment, step) for name, value in values.items()]


def _number(value: Any) -> float:
    # Databases of MLflow hold no infinities beyond these.
    if math.isinf(value):
        return math.copysign(1.7976931348623157e308, value)
    return float(value)


def _key(name: str) -> str:
    """Returns a name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:_LONGEST_KEY]
