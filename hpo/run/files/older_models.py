"""Older models: files that earlier versions wrote, weights without their preprocessing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.spec.study_spec import StudySpec
from hpo.train.data.fitted_preprocessing import UNKEPT
from hpo.train.task import Task, data_of
from hpo.train.user_code_guard import user_code

logger = logging.getLogger(__name__)


def completed(saved: Mapping[str, Any], path: Path, task: Task, spec: StudySpec) -> dict[str, Any]:
    """Returns what a file would say if it were written today, as far as the data tells it now.

    Args:
        saved: What the file holds.
        path: Of the file, for a warning: the data may have changed since.
        task: The study's.
        spec: The study's.

    Raises:
        TaskError: The task's data cannot be read.
    """
    logger.warning(
        "%s was written by an older version of hpo: its preprocessing is fitted again to the "
        "data of the study, which must not have changed",
        path.name,
    )
    with user_code("the task"):
        task.setup()
        data = data_of(task)
    return {
        **saved,
        "task": {"reference": spec.task},
        "data": {"kind": data.kind, "classes": list(data.classes), "checksum": data.checksum()},
        "validation": spec.validation.to_table(),
        "preprocessing": {"folds": [{UNKEPT: "nothing"}], "whole": None},
    }
