"""The default pruner looks at other trials at rungs, and reads each of them once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch

from hpo.search.model import freeze_thaw, map_fit
from hpo.search.optuna import reported_values
from hpo.search.optuna.model_pruner import ModelPruner
from hpo.search.optuna.model_sampler import ModelSampler
from hpo.search.optuna.reported_values import Reports

N_STEPS = 64


class Counts:
    """How often the pruner does what takes time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_fits = self.n_read = 0
        fit, curve = map_fit.fit, reported_values.curve

        def counted_fit(*args: object) -> object:
            self.n_fits += 1
            return fit(*args)  # type: ignore[arg-type]

        def counted_curve(*args: object) -> object:
            self.n_read += 1
            return curve(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(freeze_thaw, "fit", counted_fit)
        monkeypatch.setattr(reported_values, "curve", counted_curve)


def _study(n: int, pruner: ModelPruner) -> optuna.Study:
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(n):
        trial = study.ask()
        value = _run(trial, N_STEPS)
        study.tell(trial, value)
    return study


def _run(trial: optuna.Trial, n_steps: int, ask: bool = False) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(n_steps):
        trial.report(x + 1 / (step + 1), step)
        if ask:
            trial.should_prune()
    return x


def test_a_trial_is_judged_at_few_of_its_reports_and_ended_ones_are_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = _study(20, ModelPruner())
    counts = Counts(monkeypatch)
    looks: list[bool] = []
    get_trials = study.get_trials

    def counted(deepcopy: bool = True) -> list[optuna.trial.FrozenTrial]:
        looks.append(deepcopy)
        return get_trials(deepcopy=deepcopy)

    monkeypatch.setattr(study, "get_trials", counted)
    trial = study.ask()
    _run(trial, N_STEPS, ask=True)
    # About one look for each time that the trial has reported 1.4 times as much, and a fit a rung.
    assert 4 <= len(looks) <= 20
    assert not any(looks)
    assert 2 <= counts.n_fits <= 8
    # Twenty that have ended, and this one at each look.
    assert counts.n_read <= 20 + len(looks)


def test_a_hopeless_trial_is_stopped_at_a_rung_whenever_it_is_asked_there() -> None:
    study = _study(20, ModelPruner())
    study.enqueue_trial({"x": 1.0})
    trial = study.ask()
    x, stopped = trial.suggest_float("x", 0, 1), []
    for step in range(N_STEPS):
        trial.report(9.0 * x + 1 / (step + 1), step)
        first = trial.should_prune()
        assert trial.should_prune() is first
        stopped += [step] * first
    assert 1 <= len(stopped) <= 8
    assert stopped[0] < N_STEPS // 2


def test_one_pruner_may_serve_several_studies() -> None:
    kept = Reports()
    for stride in (1, 10, 3):
        study = optuna.create_study()
        for _ in range(3):
            trial = study.ask()
            for i in range(4):
                trial.report(float(stride * i), stride * i)
            study.tell(trial, 0.0)
            trials = study.get_trials(deepcopy=False)
            steps = kept.steps(trials)
            assert steps.tolist() == [0, stride, 2 * stride, 3 * stride]
            ends = [row.values[-1] for row in kept.rows(trials, steps, 1.0)]
            assert ends == [3.0 * stride] * len(trials)


def test_what_is_kept_of_reports_is_what_reading_all_of_them_says() -> None:
    study = optuna.create_study(sampler=ModelSampler(seed=0))
    kept = Reports()
    for number in range(12):
        trial = study.ask()
        for step in range(number % 3, 40, 3 + number % 5):
            trial.report(float("nan") if step % 7 == 6 else step / (number + 1), step)
            trials = study.get_trials(deepcopy=False)
            steps, fresh = kept.steps(trials), Reports()
            assert steps.tolist() == fresh.steps(trials).tolist()
            rows = kept.rows(trials, steps, -1.0), fresh.rows(trials, steps, -1.0)
            for row, other in zip(*rows, strict=True):
                assert row.epoch == other.epoch
                assert row.is_diverged is other.is_diverged
                assert str(row.values) == str(other.values)
        study.tell(trial, 0.0)


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
)
def test_a_trial_is_judged_in_the_midst_of_an_evaluation(mode: Callable[[], Any]) -> None:
    study = _study(20, ModelPruner())
    study.enqueue_trial({"x": 1.0})
    with mode():
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        verdicts = []
        for step in range(N_STEPS - 1):
            trial.report(1 + 1 / (step + 1), step)
            verdicts.append(trial.should_prune())
    assert any(verdicts)
