"""A study's pruner stops the trials that Optuna's own pruner of its name would stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from hpo.search.optuna.experimental import quietly
from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import StudySpec
from tests.kits import search_kit as kit

EPOCHS = 12
N_COMPLETE = 7
with quietly():
    PAIRS: list[tuple[dict[str, Any], BasePruner]] = [
        ({"name": "none"}, NopPruner()),
        ({"name": "median", "n_startup_trials": 3}, MedianPruner(3)),
        (
            {"name": "median", "n_startup_trials": 0, "n_warmup_steps": 4, "interval_steps": 3},
            MedianPruner(0, 4, 3),
        ),
        (
            {"name": "percentile", "percentile": 70.0, "n_startup_trials": 2, "n_min_trials": 4},
            PercentilePruner(70.0, 2, n_min_trials=4),
        ),
        (
            {"name": "threshold", "lower": 0.3, "upper": 0.8, "n_warmup_steps": 2},
            ThresholdPruner(0.3, 0.8, 2),
        ),
        ({"name": "patient", "patience": 2, "min_delta": 0.02}, PatientPruner(None, 2, 0.02)),
        (
            {"name": "wilcoxon", "p_threshold": 0.2, "n_startup_steps": 4},
            WilcoxonPruner(p_threshold=0.2, n_startup_steps=4),
        ),
        ({"name": "asha", "type": "stop"}, SuccessiveHalvingPruner(EPOCHS // 9, 3)),
        (
            {"name": "asha", "type": "stop", "min_resource": 2, "reduction_factor": 2},
            SuccessiveHalvingPruner(2, 2),
        ),
        ({"name": "hyperband"}, HyperbandPruner(1, EPOCHS, 3)),
    ]
IDS = ["-".join(map(str, rule.values())) for rule, _ in PAIRS]


def _curve(rng: np.random.Generator, metric: str) -> list[float]:
    """Returns a noisy curve that gets better on the whole, whatever is better."""
    values = rng.random() * (1.0 - np.exp(-np.arange(1, EPOCHS + 1) / 4.0))
    values = values + 0.05 * rng.standard_normal(EPOCHS)
    return [float(v) for v in (1.0 - values if metric == "val_loss" else values)]


def _search(rule: dict[str, Any], metric: str) -> tuple[StudySpec, Search, InMemoryStorage, int]:
    space = {"x": {"low": 0.0, "high": 1.0}}
    spec = kit.spec(
        metric=metric, space=space, pruner=rule, budget={"trials": 99, "epochs": EPOCHS}
    )
    storage = InMemoryStorage()
    direction = getattr(StudyDirection, spec.directions[0].upper())
    study_id = storage.create_new_study([direction], spec.name)
    return spec, Search(spec, storage), storage, study_id


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize(("rule", "theirs"), PAIRS, ids=IDS)
def test_trial_by_trial_both_stop_at_the_same_epoch(
    rule: dict[str, Any], theirs: BasePruner, metric: str
) -> None:
    spec, search, storage, study_id = _search(rule, metric)
    study = optuna.create_study(study_name=spec.name, direction=spec.directions[0], pruner=theirs)
    rng = np.random.default_rng(1)
    n_stopped = 0
    for _ in range(40):
        trial, trial_id = study.ask(), storage.create_new_trial(study_id)
        for epoch, value in enumerate(_curve(rng, metric), start=1):
            trial.report(value, epoch)
            storage.set_trial_intermediate_value(trial_id, epoch, value)
            stops = search.decides_at(epoch) and bool(search.to_prune([trial_id]))
            assert stops == trial.should_prune()
            if stops:
                break
        n_stopped += stops
        state = TrialState.PRUNED if stops else TrialState.COMPLETE
        study.tell(trial, None if stops else value, state)
        storage.set_trial_state_values(trial_id, state, None if stops else [value])
    assert n_stopped > 0 or rule["name"] == "none"


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize(("rule", "theirs"), PAIRS[:-3], ids=IDS[:-3])
def test_lanes_that_report_together_stop_as_each_alone_would(
    rule: dict[str, Any], theirs: BasePruner, metric: str
) -> None:
    n_stopped = 0
    for seed in range(6):
        spec, search, storage, study_id = _search(rule, metric)
        rng = np.random.default_rng(seed)
        for i in range(18):
            curve = _curve(rng, metric)[
                : EPOCHS if i < N_COMPLETE else int(rng.integers(1, EPOCHS))
            ]
            is_complete = i < N_COMPLETE
            frozen = create_trial(
                state=TrialState.COMPLETE if is_complete else TrialState.RUNNING,
                value=curve[-1] if is_complete else None,
                intermediate_values=dict(enumerate(curve, start=1)),
            )
            storage.create_new_trial(study_id, frozen)
        study = optuna.load_study(study_name=spec.name, storage=storage, pruner=theirs)
        running = [t for t in study.trials if t.state == TrialState.RUNNING]
        expected = {t.number for t in running if theirs.prune(study, t)}
        ids = {storage.get_trial_id_from_study_id_trial_number(study_id, t.number) for t in running}
        pruned = search.to_prune(sorted(ids))
        assert {storage.get_trial_number_from_id(i) for i in pruned} == expected
        n_stopped += len(pruned)
    assert n_stopped > 0 or rule["name"] == "none"
