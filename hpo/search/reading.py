"""A study of Optuna's as curves, whatever its objective calls a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.search_space import intersection_search_space
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo.search.curves import Curves
from hpo.search.encoding import Encoder
from hpo.search.history import History, row_of

_MOST_STEPS = 512


def curves_of(study: Study, encoder: Encoder) -> tuple[Curves, Mapping[int, int]]:
    """Reads a study with one objective.

    Steps are taken for epochs in their order: the first step that any trial has reported is epoch
    1. Of very many steps, evenly chosen ones are looked at.

    Args:
        study: The study.
        encoder: The parameters to look at.

    Returns:
        The curves, and the epoch of each step that is looked at.
    """
    trials = study.get_trials(deepcopy=False)
    epochs = _epochs(trials)
    maximize = study.direction == StudyDirection.MAXIMIZE
    history = History(encoder, max(1, len(epochs)), maximize)
    for trial in trials:
        row = row_of(trial)
        values = {
            epochs[step]: value
            for step, value in trial.intermediate_values.items()
            if step in epochs
        }
        history.put(replace(row, values=values))
    curves = history.curves()
    if not encoder.has_conditions:
        # Ranges have changed in between: a point with a value outside of them is none of these.
        partly = np.isnan(curves.points).any(axis=1, keepdims=True)
        curves = replace(curves, points=np.where(partly, np.nan, curves.points))
    return curves, epochs


def _epochs(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    steps = sorted({step for trial in trials for step in trial.intermediate_values})
    stride = -(-len(steps) // _MOST_STEPS) or 1
    # The last steps of all say most.
    kept = steps[::-1][::stride][::-1]
    return {step: i + 1 for i, step in enumerate(kept)}


def searched(study: Study) -> dict[str, BaseDistribution]:
    """Returns the parameters that all complete trials have, with their latest ranges."""
    common = intersection_search_space(study.get_trials(deepcopy=False))
    return {name: kind for name, kind in sorted(common.items()) if not kind.single()}
