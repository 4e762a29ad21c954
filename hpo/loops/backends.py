"""Choice of a backend: what stands behind a trial, or a script without one."""

from __future__ import annotations

import os
from typing import Any

from hpo.errors import TaskError
from hpo.loops.backend import TrialBackend


def backend_of(trial: Any) -> TrialBackend:
    """Returns the backend of a trial.

    Args:
        trial: Of an objective; None in a script.

    Raises:
        TaskError: It is no trial of Optuna's.
    """
    if trial is None:
        from hpo.loops.command_backend import CommandBackend, StandaloneBackend

        return CommandBackend() if "HPO_TRIAL_DIR" in os.environ else StandaloneBackend()
    if hasattr(trial, "trial_backend"):
        # A trial of a worker of hpo's.
        backend: TrialBackend = trial.trial_backend()
        return backend
    import optuna

    from hpo.loops.optuna_backend import OptunaBackend

    if isinstance(trial, optuna.trial.FixedTrial | optuna.Trial):
        return OptunaBackend(trial)
    raise TaskError(
        f"hpo.Run takes the trial of an objective, or nothing in a script; found {trial!r:.100}"
    )
