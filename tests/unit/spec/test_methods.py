"""The options of samplers and pruners are those of Optuna's constructors."""

from __future__ import annotations

import inspect

import optuna
import pytest

from hpo.spec.methods import PRUNERS, SAMPLERS
from hpo.spec.study_spec import PrunerSpec, SamplerSpec

OPTUNA_SAMPLERS = {
    "random": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "nsga3": optuna.samplers.NSGAIIISampler,
}
OPTUNA_PRUNERS = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "patient": optuna.pruners.PatientPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


def test_every_other_name_is_one_of_optunas() -> None:
    assert set(SAMPLERS) == {*OPTUNA_SAMPLERS, "auto", "cmaes", "grid"}
    assert set(PRUNERS) == {*OPTUNA_PRUNERS, "auto", "bohb", "freeze-thaw"}


@pytest.mark.parametrize("name", OPTUNA_SAMPLERS)
def test_options_of_samplers_are_arguments_of_theirs(name: str) -> None:
    assert set(SAMPLERS[name]) <= set(inspect.signature(OPTUNA_SAMPLERS[name]).parameters)


@pytest.mark.parametrize("name", OPTUNA_PRUNERS)
def test_options_of_pruners_are_arguments_of_theirs(name: str) -> None:
    own = {"type"} if name == "asha" else set()
    assert set(PRUNERS[name]) - own <= set(inspect.signature(OPTUNA_PRUNERS[name]).parameters)


def test_options_stand_beside_the_name_or_under_options() -> None:
    flat = SamplerSpec(name="tpe", n_startup_trials=20)
    assert flat == SamplerSpec(name="tpe", options={"n_startup_trials": 20})
    assert flat.to_table() == {"name": "tpe", "n_startup_trials": 20}


def test_whole_numbers_serve_as_real_ones() -> None:
    options = PrunerSpec(name="threshold", lower=0, upper=1).options
    assert [type(value) for value in options.values()] == [float, float]
    assert PrunerSpec(name="asha", min_resource="auto").options == {"min_resource": "auto"}
