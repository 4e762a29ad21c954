"""Asking for params and for a stop, over Optuna's in-memory storage."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.search.base.derived_seeds import mix
from hpo.search.base.distributions import complete, distribution
from hpo.search.optuna.pruners import PRUNERS, lowest_rung, make_pruner
from hpo.search.optuna.samplers import SAMPLERS
from hpo.search.optuna.study_search import Search
from hpo.spec import methods
from hpo.spec.space.search_space import Categorical, Fixed, Float, Int, SearchSpace
from hpo.spec.study_spec import StudySpec

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
    "depth": {"low": 1, "high": 4},
    "optimizer": {"choices": ["sgd", "adam"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "width": 64,
}


def _spec(**changes: Any) -> StudySpec:
    base: dict[str, Any] = {
        "name": "s",
        "task": "digits-mlp",
        "metric": "val_accuracy",
        "direction": "maximize",
        "space": SPACE,
        "budget": {"trials": 10, "epochs": 27},
    }
    return StudySpec(**{**base, **changes})


def _history(spec: StudySpec) -> tuple[Search, InMemoryStorage, int]:
    storage = InMemoryStorage()
    directions = [getattr(StudyDirection, d.upper()) for d in spec.directions]
    study_id = storage.create_new_study(directions, spec.name)
    return Search(spec, storage), storage, study_id


def test_registries_and_the_names_that_a_study_file_may_use_agree() -> None:
    assert set(SAMPLERS) == set(methods.SAMPLERS)
    assert set(PRUNERS) == set(methods.PRUNERS)


@pytest.mark.parametrize("name", ["auto", "random", "tpe", "gp", "nsga2"])
def test_a_sampler_that_notes_nothing_of_an_end_asks_the_database_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, storage, study_id = _history(_spec(sampler=name, pruner="none"))
    trial_id = storage.create_new_trial(study_id)
    search.params(trial_id)
    monkeypatch.setattr(storage, "get_trial", None)
    search.before_finish([(trial_id, TrialState.COMPLETE, (0.5,))])


def test_distributions_follow_the_parameters() -> None:
    assert distribution(Float(low=0.1, high=1.0, log=True)) == FloatDistribution(0.1, 1.0, log=True)
    assert distribution(Int(low=1, high=9, step=2)) == IntDistribution(1, 9, step=2)
    assert distribution(Categorical(choices=(1, "full"))) == CategoricalDistribution((1, "full"))
    assert distribution(Fixed(value=3)) is None


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n not in ("grid", "gp")])
def test_params_hold_every_active_parameter_and_no_other(name: str) -> None:
    search, storage, study_id = _history(_spec(sampler={"name": name}))
    for _ in range(12):
        params = search.params(storage.create_new_trial(study_id))
        assert params["width"] == 64
        assert ("momentum" in params) == (params["optimizer"] == "sgd")
        assert 1e-4 <= params["learning_rate"] <= 1.0
        assert params["depth"] in (1, 2, 3, 4)


def test_a_trial_that_has_params_keeps_them() -> None:
    search, storage, study_id = _history(_spec())
    trial_id = storage.create_new_trial(study_id)
    first = search.params(trial_id)
    assert search.params(trial_id) == first
    assert Search(_spec(), storage).params(trial_id) == first


def test_complete_waits_for_a_parameter_that_is_still_to_be_drawn() -> None:
    space = SearchSpace.model_validate({"parameters": SPACE})
    stored = {"learning_rate": 0.1, "depth": 2, "optimizer": "sgd"}
    assert complete(stored, space) is None
    assert complete({**stored, "optimizer": "adam"}, space) == {
        "learning_rate": 0.1,
        "depth": 2,
        "optimizer": "adam",
        "width": 64,
    }


def test_params_follow_from_seed_and_number_not_from_who_asks() -> None:
    drawn = []
    for _ in range(2):
        search, storage, study_id = _history(_spec(sampler={"name": "random"}))
        ids = [storage.create_new_trial(study_id) for _ in range(4)]
        drawn.append([search.params(trial_id) for trial_id in ids])
    assert drawn[0] == drawn[1]
    assert len({params["learning_rate"] for params in drawn[0]}) == 4


def test_mix_separates_neighbours() -> None:
    seeds = {mix(seed, number) for seed in range(20) for number in range(50)}
    assert len(seeds) == 1000


def test_asha_stops_the_worse_of_many_at_a_rung_and_not_before() -> None:
    spec = _spec(pruner="asha")
    search, storage, study_id = _history(spec)
    rung = lowest_rung(27, 3)
    assert rung == 3
    for value in (0.9, 0.8, 0.7, 0.6):
        trial_id = storage.create_new_trial(study_id)
        storage.set_trial_intermediate_value(trial_id, rung, value)
        search.should_prune(trial_id)
    poor = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(poor, rung - 1, 0.1)
    assert not search.should_prune(poor)
    storage.set_trial_intermediate_value(poor, rung, 0.1)
    assert search.should_prune(poor)


@pytest.mark.parametrize("name", list(PRUNERS))
def test_every_pruner_can_be_made_with_its_defaults(name: str) -> None:
    options = {"lower": 0.1} if name == "threshold" else {}
    spec = _spec(pruner={"name": name, **options})
    assert isinstance(make_pruner(spec), optuna.pruners.BasePruner)


def test_several_objectives_are_never_pruned() -> None:
    spec = _spec(metric=["val_accuracy", "val_loss"], direction=["maximize", "minimize"])
    search, storage, study_id = _history(spec)
    assert not search.should_prune(storage.create_new_trial(study_id))
    assert search.best_number() is None


def test_best_number_is_that_of_a_complete_trial() -> None:
    search, storage, study_id = _history(_spec())
    assert search.best_number() is None
    for value in (0.5, 0.9, 0.7):
        trial_id = storage.create_new_trial(study_id)
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])
    assert search.best_number() == 1


def test_paused_trials_show_tpe_where_good_values_are() -> None:
    study = _spec(sampler="tpe", space={"x": {"low": 0.0, "high": 1.0}})

    def asked(counts: bool) -> float:
        search, storage, study_id = _history(study)
        ids = [storage.create_new_trial(study_id) for _ in range(40)]
        points = {trial_id: {"x": i / 39} for i, trial_id in enumerate(ids)}
        search.give(points)
        for trial_id, point in points.items():
            storage.set_trial_intermediate_value(trial_id, 3, 1.0 - abs(point["x"] - 0.2))
        new = [storage.create_new_trial(study_id) for _ in range(20)]
        drawn = search.ask(new, paused=ids if counts else ())
        assert storage.get_trial(ids[0]).state == TrialState.RUNNING
        return sum(abs(point["x"] - 0.2) for point in drawn) / len(drawn)

    assert asked(counts=True) < 0.15 < asked(counts=False)


def test_a_grid_keeps_its_points_whatever_a_stack_would_like() -> None:
    space = {"depth": {"low": 1, "high": 3}, "optimizer": {"choices": ["sgd", "adam"]}}
    search, storage, study_id = _history(_spec(sampler="grid", space=space))
    trial_ids = [storage.create_new_trial(study_id) for _ in range(6)]
    points = search.ask(trial_ids, pinned={"depth": 2})
    assert len({(point["depth"], point["optimizer"]) for point in points}) == 6


def test_tpe_draws_what_a_sampler_of_its_own_would_draw() -> None:
    """Samplers share what they know of the space, and nothing else."""
    spec = _spec(sampler={"name": "tpe"}, space={**SPACE, "momentum": {"low": 0.0, "high": 0.9}})
    search, storage, study_id = _history(spec)
    for number in range(16):
        study = optuna.load_study(study_name=spec.name, storage=storage)
        trial_id = storage.create_new_trial(study_id)
        own = optuna.samplers.TPESampler(seed=mix(spec.seed, number))
        frozen = storage.get_trial(trial_id)
        space = own.infer_relative_search_space(study, frozen)
        expected = own.sample_relative(study, frozen, space)
        params = search.params(trial_id)
        assert len(expected) == (4 if number >= 10 else 0)
        assert {name: params[name] for name in expected} == expected
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [params["learning_rate"]])


def test_notes_of_samplers_and_pruners_are_written_with_what_they_decide() -> None:
    spec = _spec(sampler={"name": "nsga2", "options": {"population_size": 4}})
    search, storage, study_id = _history(spec)
    for number in range(10):
        (trial_id,) = ids = [storage.create_new_trial(study_id)]
        search.ask(ids)
        attrs = storage.get_trial(trial_id).system_attrs
        assert list(attrs.values()) == [number // 4]
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.1 * number])
    options = {"name": "asha", "type": "stop", "min_early_stopping_rate": 0}
    search, storage, study_id = _history(_spec(pruner=options))
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(trial_id, 9, 0.5)
    search.to_prune([trial_id])
    assert "completed_rung_0" in storage.get_trial(trial_id).system_attrs
