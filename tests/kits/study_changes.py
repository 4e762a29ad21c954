"""Trials, leases and changes of a study in memory, as a worker's view of the study takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo.spec.study_spec import StudySpec
from hpo.store.ledger.leases import Lease, LeaseStatus
from hpo.store.optuna.trial_cache import Changes, Cursor

SPEC = StudySpec(
    name="s",
    task="digits-mlp",
    metric="val_loss",
    direction="minimize",
    budget={"trials": 5, "epochs": 4},
    space={"learning_rate": {"low": 0.1, "high": 1.0}, "depth": {"low": 1, "high": 3}, "width": 8},
)
DISTRIBUTIONS = {"learning_rate": FloatDistribution(0.1, 1.0), "depth": IntDistribution(1, 3)}
PARAMS = {"learning_rate": 0.5, "depth": 2}


def trial(
    number: int,
    state: TrialState = TrialState.RUNNING,
    params: Mapping[str, Any] = PARAMS,
    values: Mapping[int, float] | None = None,
) -> FrozenTrial:
    """A trial whose id is its number and 100."""
    return FrozenTrial(
        number=number,
        trial_id=100 + number,
        state=state,
        value=0.1 if state == TrialState.COMPLETE else None,
        datetime_start=None,
        datetime_complete=None,
        params=dict(params),
        distributions={name: DISTRIBUTIONS[name] for name in params},
        user_attrs={},
        system_attrs={},
        intermediate_values=dict(values or {}),
    )


def changes(*trials: FrozenTrial, n_read: int = 1, **leases: tuple[bool, int, int]) -> Changes:
    """What has changed; ``t3=(True, 1, 2)`` is trial 3 with a worker, on its way from 1 to 2."""
    found = {100 + int(name[1:]): LeaseStatus(*lease) for name, lease in leases.items()}
    return Changes(list(trials), found, Cursor(0, n_read))


def lease(number: int, epoch_stop: int, *, is_new: bool = False) -> Lease:
    """A lease of such a trial."""
    return Lease(1, 100 + number, number, 1, 1, 1, 0, epoch_stop, None, is_new=is_new)
