"""Objective rows: the trials of an objective that pause, as a scheduler sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from optuna.trial import FrozenTrial

from hpo.search.base.curves import State
from hpo.search.base.history import ObservedTrial
from hpo.search.base.param_encoding import Encoder
from hpo.search.optuna.inferred_space import rows_of
from hpo.search.optuna.planned_params import planned_params

_OVER = (State.COMPLETE, State.PRUNED, State.FAILED)


def of_objective(row: ObservedTrial, trial: FrozenTrial) -> ObservedTrial:
    """Returns a row with what was planned for its trial.

    A trial that has reported counts by its reports alone: what an objective returns may be another
    quantity, and paused trials are compared by what they have reported.
    """
    return replace(row, planned=planned_params(trial), final=None if row.values else row.final)


def at_present(row: ObservedTrial, encoder: Encoder) -> ObservedTrial:
    """Returns a row of `of_objective` with the params that its trial has for the search now.

    These are what was planned until the first report, and then what the objective has asked for:
    until then it may not have asked for all. They are empty for a point outside of the space.
    """
    has_asked = bool(row.values) or row.state in _OVER
    params = row.params if has_asked else row.planned
    is_inside = bool(params) and not (len(encoder) and np.isnan(rows_of([params], encoder)).all())
    return replace(row, params=params if is_inside else {})
