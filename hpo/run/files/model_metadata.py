"""Model metadata: what a model's file holds beside the weights, to predict with them elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from typing import Any, Final

import tomlkit

from hpo.run.files.artifacts import identity_of
from hpo.search.base.derived_seeds import mix
from hpo.store.studies.study_records import StudyRecord
from hpo.train.data.dataset import Data
from hpo.train.data.loading.loaded_splits import AnySplits, LoadedSplits
from hpo.train.task import Task
from hpo.train.user_code_guard import user_code

FORMAT: Final = "hpo-model-1"
_PACKAGES: Final = ("hpo", "torch", "numpy", "scikit-learn")


class ModelMetadata:
    """Metadata of the models of a study's trials.

    Args:
        study: The study.
        task: Its task.
        data: The task's.
        folds: The data of each fold.
        note_data: Is called with the data's checksum and number of samples when they are known.
    """

    def __init__(
        self,
        study: StudyRecord,
        task: Task,
        data: Data,
        folds: Sequence[AnySplits],
        note_data: Callable[[str, int], None] = lambda checksum, n_samples: None,
    ) -> None:
        self._study = study
        self._task = task
        self._data = data
        self._folds = folds
        self._note_data = note_data

    def of_trial(self, number: int, seed: int | None = None) -> Mapping[str, Any]:
        """Returns plain values and tensors by name, for the model of a trial.

        Args:
            number: Of the trial.
            seed: Of the trial; by default that of its number.

        Raises:
            TaskError: The task's ``export_state`` raises.
        """
        study = self._study
        trial = {
            "study": study.name,
            "study_id": identity_of(study),
            "number": number,
            "seed": mix(study.spec.seed, number) if seed is None else seed,
        }
        return {"format": FORMAT, "trial": trial, **self._shared}

    @cached_property
    def _shared(self) -> dict[str, Any]:
        """What all trials of the study have in common."""
        spec, first = self._study.spec, self._folds[0]
        with user_code("the task's export_state"):
            state = dict(self._task.export_state())
        task = {
            "reference": spec.task,
            # As text: TOML has dates, which PyTorch does not load.
            "options": tomlkit.dumps(spec.task_options),
            "state": state,
        }
        checksum, n_samples = self._data.checksum(), len(self._data)
        self._note_data(checksum, n_samples)
        data = {
            "kind": first.kind,
            "classes": list(first.classes),
            "in_shape": list(first.in_shape),
            "dtype": first.dtype,
            "is_loaded": isinstance(first, LoadedSplits),
            "n_rows": n_samples,
            "checksum": checksum,
        }
        preprocessing = {
            "folds": [one.fitted.own for one in self._folds],
            "whole": first.fitted.whole,
        }
        return {
            "task": task,
            "data": data,
            "validation": spec.validation.to_table(),
            "preprocessing": preprocessing,
            "metric": list(spec.metrics),
            "versions": _versions(),
        }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
