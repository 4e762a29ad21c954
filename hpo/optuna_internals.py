"""Optuna's private attributes that have no public counterpart, each behind a function.

Other modules read and set none of them, so that a new version of Optuna breaks this one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.trial import FrozenTrial


def trial_id_of(trial: FrozenTrial) -> int:
    """Returns the trial's id in its database; ``trial.number`` counts within the study."""
    return trial._trial_id


def study_id_of(study: Any) -> int:
    """Returns the id of a ``Study`` or a ``FrozenStudy`` in its database."""
    return int(study._study_id)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Returns whether a distribution has a value."""
    return distribution._contains(distribution.to_internal_repr(value))


def share_search_space(sampler: BaseSampler, space: IntersectionSearchSpace) -> None:
    """Makes a ``TPESampler`` take its parameters from an object that other samplers use, too."""
    sampler._search_space = space  # type: ignore[attr-defined]


def has_failed_trial_callback(study: Study) -> bool:
    """Returns whether a study's storage retries trials whose process died."""
    storage: Any = study._storage
    storage = getattr(storage, "_backend", storage)
    get = getattr(storage, "get_failed_trial_callback", None)
    return get is not None and get() is not None
