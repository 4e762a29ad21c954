"""hpo.Run under plain Optuna, and by hand: what a loop sees of it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import RDBStorage, RetryFailedTrialCallback
from optuna.trial import TrialState

import hpo
from hpo.loops import loop_state


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_TRIAL_DIR", raising=False)


def _optimize(objective: Callable[[optuna.Trial], float], **options: Any) -> optuna.Study:
    study = optuna.create_study(**options)
    study.optimize(objective, n_trials=1)
    return study


def test_epochs_are_reported_to_optuna_and_the_best_is_kept() -> None:
    def objective(trial: optuna.Trial) -> float:
        run = hpo.Run(trial)
        assert run.restore(model=torch.nn.Linear(1, 1)) is False
        for epoch in run.epochs(4):
            run.report(loss=abs(epoch - 2.0), other=1)
        return run.best

    (trial,) = _optimize(objective).trials
    assert trial.intermediate_values == {1: 1.0, 2: 0.0, 3: 1.0, 4: 2.0}
    assert trial.value == 0.0
    assert not list(Path().iterdir())


def test_best_follows_the_direction_and_the_named_metric() -> None:
    def objective(trial: optuna.Trial) -> float:
        run = hpo.Run(trial, metric="accuracy")
        for epoch in run.epochs(3):
            run.report(loss=-epoch, accuracy=torch.tensor(0.1 * epoch))
        return run.best

    assert _optimize(objective, direction="maximize").best_value == pytest.approx(0.3)


def test_the_pruner_of_the_study_ends_the_trial() -> None:
    def objective(trial: optuna.Trial) -> float:
        run = hpo.Run(trial)
        for _ in run.epochs(5):
            run.report(loss=2.0)
        return run.best

    (trial,) = _optimize(objective, pruner=optuna.pruners.ThresholdPruner(upper=1.0)).trials
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [1]


def test_a_retried_trial_resumes_where_the_failed_one_was_saved() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = RDBStorage(
            "sqlite:///optuna.db",
            heartbeat_interval=60,
            failed_trial_callback=RetryFailedTrialCallback(),
        )
    study = optuna.create_study(storage=storage)
    seen: list[list[int]] = []

    def objective(trial: optuna.Trial) -> float:
        run = hpo.Run(trial)
        numbers: list[float] = []
        run.restore(numbers=numbers)
        seen.append([])
        for epoch in run.epochs(4):
            seen[-1].append(epoch)
            numbers.append(epoch)
            run.report(loss=sum(numbers))
            if len(seen) == 1 and epoch == 2:
                raise KeyboardInterrupt
        return sum(numbers)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KeyboardInterrupt):
            study.optimize(objective, n_trials=1)
        failed = study.get_trials()[0]
        RetryFailedTrialCallback()(study, failed)
        study.optimize(objective, n_trials=1)
    # So short epochs are not all saved.
    assert seen in ([[1, 2], [3, 4]], [[1, 2], [2, 3, 4]])
    assert study.get_trials()[-1].value == 10


def test_generators_and_objects_come_back_as_they_were(tmp_path: Path) -> None:
    model, own, torchs = torch.nn.Linear(2, 2), np.random.default_rng(3), torch.Generator()
    pythons, notes = random.Random(4), {"seen": [1, 2]}
    things = {"model": model, "own": own, "torchs": torchs, "pythons": pythons, "notes": notes}
    path = tmp_path / "state.pt"
    loop_state.write(path, 3, 0.5, things)

    def draw() -> list[Any]:
        numbers = [random.random(), np.random.random(), own.random(), pythons.random()]
        return [*numbers, torch.rand(1).item(), torch.rand(1, generator=torchs).item()]

    expected, weight = draw(), model.weight.clone()
    with torch.no_grad():
        model.weight.zero_()
    notes["seen"].append(3)
    state = loop_state.read(path)
    for name, thing in things.items():
        loop_state.set_state(name, thing, state["objects"][name])
    loop_state.set_generator_states(state["generators"])
    assert draw() == expected
    assert torch.equal(model.weight, weight)
    assert notes == {"seen": [1, 2]}


def test_a_script_that_is_run_by_hand_trains_to_its_end() -> None:
    run = hpo.Run()
    run.restore(model=torch.nn.Linear(1, 1))
    for epoch in run.epochs(3):
        run.report(loss=epoch)
    assert (run.epoch, dict(run.params)) == (3, {})
    assert hpo.report(epoch=1, loss=0.5) is False
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda run: run.restore(step=3), "step is a int; what is kept has state_dict"),
        (lambda run: run.report(), "run.report needs a value"),
        (lambda run: run.report(loss="low"), "loss is no number but 'low'"),
        (lambda run: run.report(loss=torch.zeros(2)), "loss is no number but tensor"),
        (lambda run: list(run.epochs(0)), "at least 1 epoch"),
        (lambda run: list(run.epochs(2)), "epoch 1 was not reported"),
        (lambda run: list(run.epochs()), "needs a number of epochs"),
    ],
)
def test_wrong_calls_are_named(wrong: Callable[[hpo.Run], Any], told: str) -> None:
    with pytest.raises(hpo.TaskError, match=told):
        wrong(hpo.Run())


def test_what_is_no_trial_is_refused() -> None:
    with pytest.raises(hpo.TaskError, match="takes the trial of an objective"):
        hpo.Run({"lr": 0.1})


def test_a_folder_is_saved_as_one_file_and_comes_back_as_a_folder() -> None:
    run = hpo.Run()

    def write(path: Path) -> None:
        path.mkdir()
        (path / "weights").write_text("w")

    assert run.save(write)
    assert [path.name for path in run.dir.iterdir()] == ["checkpoint.pt"]
