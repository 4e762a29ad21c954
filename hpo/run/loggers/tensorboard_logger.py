"""TensorBoard logger: a run for each trial, with a scalar for each metric, and its hyperparameters.

The files are those of TensorBoard's own writer, in ``FOLDER/STUDY/trial-00017``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from hpo.run.loggers.logger import LoggedEpoch, LoggedStudy, LoggedTrial, StudyEnding, TrialEnding

DEFAULT_FOLDER: Final = "runs"
_STATUS: Final = {
    "COMPLETE": api_pb2.STATUS_SUCCESS,
    "PRUNED": api_pb2.STATUS_SUCCESS,
    "FAIL": api_pb2.STATUS_FAILURE,
}


class TensorBoardLogger:
    """Writes event files.

    Args:
        target: The folder; by default ``runs`` in the current one.
        study: The study.
    """

    def __init__(self, target: str | None, study: LoggedStudy) -> None:
        self._folder = Path(target or DEFAULT_FOLDER).absolute() / study.folder
        self._study = study
        self._writers: dict[int, EventFileWriter] = {}

    def begin(self, trial: LoggedTrial) -> int:
        """Opens the run of a trial; returns the last epoch in its files, -1 for none."""
        self._close(trial.number)
        folder = self._of(trial)
        last, is_new = _last_epoch(folder)
        self._writers[trial.number] = EventFileWriter(str(folder))
        if is_new:
            info = _start(trial, folder.name)
            data = plugin_data_pb2.HParamsPluginData(session_start_info=info)
            self._add(trial, _hparams(metadata.SESSION_START_INFO_TAG, data), trial.began_at, 0)
        return last

    def log(self, trial: LoggedTrial, epochs: Sequence[LoggedEpoch]) -> None:
        """Writes a scalar for each metric of each epoch."""
        for epoch in epochs:
            scalars = [Summary.Value(tag=tag, simple_value=x) for tag, x in epoch.metrics.items()]
            self._add(trial, Summary(value=scalars), epoch.at, epoch.epoch)
        self._writers[trial.number].flush()

    def pause(self, trial: LoggedTrial) -> None:
        """Closes the file of a trial; the next one continues its run."""
        self._close(trial.number)

    def end(self, trial: LoggedTrial, ending: TrialEnding) -> None:
        """Writes the trial's values and how it ended."""
        if trial.number not in self._writers:
            self.begin(trial)
        step = max(0, ending.best_epoch or 0)
        scalars = [
            Summary.Value(tag=f"objective/{name}", simple_value=value)
            for name, value in ending.values.items()
            if math.isfinite(value)
        ]
        if scalars:
            self._add(trial, Summary(value=scalars), ending.at, step)
        status = _STATUS.get(ending.state, api_pb2.STATUS_UNKNOWN)
        info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ending.at)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
        self._add(trial, _hparams(metadata.SESSION_END_INFO_TAG, data), ending.at, step)
        self._close(trial.number)

    def finish(self, ending: StudyEnding) -> None:
        """Does nothing: TensorBoard has no word for it."""

    def close(self) -> None:
        """Closes all files."""
        for number in list(self._writers):
            self._close(number)

    def _of(self, trial: LoggedTrial) -> Path:
        return self._folder / f"trial-{trial.number:05}"

    def _add(self, trial: LoggedTrial, summary: Summary, at: float, step: int) -> None:
        event = Event(wall_time=at, step=step, summary=summary)
        self._writers[trial.number].add_event(event)

    def _close(self, number: int) -> None:
        writer = self._writers.pop(number, None)
        if writer is not None:
            writer.close()


def _last_epoch(folder: Path) -> tuple[int, bool]:
    """Returns the last epoch of a run, and whether it has no event yet.

    A file whose writer was killed may end within an event; what is before that counts.
    """
    last, is_new = -1, True
    for path in sorted(folder.glob("events.out.tfevents.*")) if folder.is_dir() else ():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                is_new = False
                tag = value.tag
                if not tag.startswith(("_hparams_/", "objective/")):
                    last = max(last, event.step)
    return last, is_new


def _start(trial: LoggedTrial, group: str) -> plugin_data_pb2.SessionStartInfo:
    """Returns a trial's params as TensorBoard takes hyperparameters: numbers, booleans or text."""
    info = plugin_data_pb2.SessionStartInfo(group_name=group, start_time_secs=trial.began_at)
    for name, value in trial.params.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = str(value)
    return info


def _hparams(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    content = metadata.create_summary_metadata(data)
    assert isinstance(content, SummaryMetadata)
    return Summary(value=[Summary.Value(tag=tag, metadata=content, tensor=metadata.NULL_TENSOR)])
