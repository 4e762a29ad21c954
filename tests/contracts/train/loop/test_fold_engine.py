"""Trials of several folds and seeds: the mean of what each part comes to alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit
from sklearn.preprocessing import StandardScaler

from hpo.errors import SpecError, TaskError
from hpo.run.files.model_metadata import ModelMetadata
from hpo.run.files.prediction import load_model
from hpo.spec.study_spec import StudySpec, ValidationSpec
from hpo.store.studies.study_records import StudyRecord
from hpo.train.data.dataset import Data
from hpo.train.engine import EpochReport, Lane
from hpo.train.loop.ensemble import measured
from hpo.train.loop.fold_engine import FoldEngine, with_parts
from hpo.train.recipe.random_streams import derive
from tests.contracts.train.fused.test_fused_hyperparameters import Rich
from tests.kits.stacks import assert_same_metrics, fused, solo
from tests.kits.toy import blobs, lane

SPEC = ValidationSpec(folds=3, seeds=2)
ENGINES: dict[str, Callable[..., Any]] = {"solo": solo, "fused": fused}
METRIC = "val_accuracy"


@cache
def data() -> Data:
    parts = [blobs().train, blobs().val]
    x, y = torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts])
    return Data.split(x, y, preprocess=StandardScaler())


@cache
def folds() -> tuple[Any, ...]:
    return data().folds(SPEC)


def whole(make: Callable[..., Any], spec: ValidationSpec = SPEC, splits: Any = None) -> Any:
    inner = make(Rich(), splits or folds(), METRIC, "maximize")
    return with_parts(inner, spec, (METRIC,), "maximize")


def trial(key: int = 1, seed: int = 7, **values: Any) -> Lane:
    given = {"batch_size": 16, "dropout": 0.3, "learning_rate": 0.1, **values}
    return lane(seed, 6, key, **given)


def train(engine: Any, n_epochs: int) -> dict[int, list[EpochReport]]:
    found: dict[int, list[EpochReport]] = {}
    for _ in range(n_epochs):
        for report in engine.advance():
            found.setdefault(report.key, []).append(report)
    return found


def alone(one: Lane, n_epochs: int) -> list[list[dict[str, float]]]:
    """The curves of a trial's parts, each by an engine of its own."""
    curves = []
    for seed in (one.seed, derive(one.seed, "part", 1)):
        for splits in folds():
            engine = solo(Rich(), splits, METRIC, "maximize")
            assert engine.add(replace(one, seed=seed)) is None
            curves.append([dict(r.metrics) for r in train(engine, n_epochs)[one.key]])
    return curves


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_a_trial_is_the_mean_of_its_parts(make: Callable[..., Any], tmp_path: Path) -> None:
    engine = whole(make)
    one, other = trial(1), trial(2, 8, learning_rate=0.02, class_weights="balanced", mixup=0.3)
    lanes = [one, other] if make is fused else [one]
    for each in lanes:
        assert engine.add(each) is None
    reports = train(engine, 4)
    if make is fused:
        # All parts of both trials are lanes of one stack.
        assert engine.lane_epochs == 12 * engine.stack_epochs
    for each in lanes:
        curves = alone(each, 4)
        for epoch, report in enumerate(reports[each.key]):
            rows = [curve[epoch] for curve in curves]
            expected = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
            expected[f"{METRIC}_std"] = statistics.stdev(row[METRIC] for row in rows)
            assert_same_metrics(report.metrics, expected)
    values = [report.metrics[METRIC] for report in reports[1]]
    best = values.index(max(values)) + 1
    assert engine.best(1) == (best, dict(reports[1][best - 1].metrics))
    assert 0 < engine.test(1)["test_accuracy"] <= 1


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_what_is_exported_is_of_the_epoch_that_was_best_in_the_mean(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    engine = whole(make)
    assert engine.add(trial(learning_rate=0.5)) is None
    train(engine, 5)
    epoch, metrics = engine.best(1)
    engine.export(1, tmp_path / "model.pt")
    file = torch.load(tmp_path / "model.pt", weights_only=True)
    assert (file["epoch"], len(file["parts"])) == (epoch, 6)
    found = []
    for i, state in enumerate(file["parts"]):
        model = Rich().model(trial(learning_rate=0.5).params)
        model.load_state_dict(state)
        val = folds()[i % 3].val
        with torch.no_grad():
            found.append(float((model.eval()(val.x).argmax(1) == val.y).float().mean()))
    assert statistics.fmean(found) == pytest.approx(metrics[METRIC], abs=1e-6)
    first = zip(file["state_dict"].values(), file["parts"][0].values(), strict=True)
    assert all(torch.equal(a, b) for a, b in first)


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_the_parts_are_tested_as_an_ensemble(make: Callable[..., Any], tmp_path: Path) -> None:
    engine = whole(make)
    assert engine.add(trial()) is None
    train(engine, 3)
    engine.export(1, tmp_path / "model.pt")
    file = torch.load(tmp_path / "model.pt", weights_only=True)
    outputs = []
    for i, state in enumerate(file["parts"]):
        model = Rich().model(trial().params)
        model.load_state_dict(state)
        test = folds()[i % 3].test
        assert test is not None
        with torch.no_grad():
            outputs.append(model.eval()(test.x))
    assert test is not None
    together = torch.stack(outputs).mean(0)
    found = engine.test(1)
    loss = float(torch.nn.functional.cross_entropy(together, test.y))
    assert found["test_loss"] == pytest.approx(loss, rel=1e-4)
    right = float((together.argmax(1) == test.y).float().mean())
    assert found["test_accuracy"] == pytest.approx(right)
    # Cross-entropy is convex: the ensemble's is below the mean of theirs.
    each = [float(torch.nn.functional.cross_entropy(one, test.y)) for one in outputs]
    assert loss < statistics.fmean(each)


def test_the_exported_models_predict_as_they_were_tested(tmp_path: Path) -> None:
    class Own(Rich):
        def data(self) -> Data:
            return data()

    engine = whole(fused)
    assert engine.add(trial()) is None
    train(engine, 2)
    path = tmp_path / "model.pt"
    spec = StudySpec(
        name="s",
        task="own.py:Own",
        budget={"trials": 1, "epochs": 2},
        validation={"folds": SPEC.folds, "seeds": SPEC.seeds},
    )
    at = datetime(2026, 1, 1)
    study = StudyRecord(1, "s", spec, "", "active", None, spec.budget, None, at, at, None)
    engine.export(1, path, ModelMetadata(study, Own(), data(), folds()).of_trial(1))
    plan: Any = data().plan
    rows = torch.from_numpy(plan.rule.assign(plan.targets, SPEC).test)
    found = torch.tensor(load_model(path, task=Own()).predict(plan.x[rows]).to_numpy())
    assert torch.allclose(found.sum(1), torch.ones(len(rows)))
    y = plan.targets.y[rows]
    right = float((found.argmax(1) == y).float().mean())
    assert right == pytest.approx(engine.test(1)["test_accuracy"])


def test_outputs_without_a_mean_leave_the_mean_of_the_metrics() -> None:
    class Whole:
        """Two models whose outputs are classes."""

        def outputs(self, key: int) -> torch.Tensor:
            return torch.tensor([key, 1])

        def measure(self, key: int, outputs: torch.Tensor) -> dict[str, float]:
            return {"test_sum": float(outputs.sum())}

    assert measured(Whole(), (1, 2)) == {"test_sum": 2.5}  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{}, {"averaging": "ema", "optimizer": "adam"}])
def test_a_trial_goes_on_in_another_engine(values: dict[str, Any], tmp_path: Path) -> None:
    one = trial(**{"learning_rate": 0.01, **values})
    through = whole(fused)
    assert through.add(one) is None
    expected, found, stand = train(through, 6)[1], list[EpochReport](), one
    for make, n_epochs in ((fused, 2), (solo, 2), (fused, 2)):
        engine = whole(make)
        assert engine.add(stand) is None
        assert engine.epoch(1) == len(found)
        found += train(engine, n_epochs)[1]
        engine.save(1, tmp_path / "trial.pt")
        stand = replace(one, epoch=len(found), checkpoint=tmp_path / "trial.pt")
    for a, b in zip(found, expected, strict=True):
        assert a.epoch == b.epoch
        assert_same_metrics(a.metrics, b.metrics)
    assert engine.best(1)[0] == through.best(1)[0]
    assert_same_metrics(engine.test(1), through.test(1))


def test_a_checkpoint_of_another_trial_or_number_of_parts_is_not_used(tmp_path: Path) -> None:
    engine = whole(fused)
    engine.add(trial())
    train(engine, 2)
    path = tmp_path / "trial.pt"
    engine.save(1, path)
    later = replace(trial(), epoch=2, checkpoint=path)
    fewer = with_parts(
        fused(Rich(), folds(), METRIC, "maximize"), ValidationSpec(folds=3), (METRIC,), "maximize"
    )
    for other, one in ((whole(fused), replace(later, seed=8)), (fewer, later)):
        assert other.add(one) is None
        assert other.epoch(1) == 0
    path.write_bytes(b"nothing")
    torn = whole(fused)
    assert torn.add(later) is None
    assert torn.epoch(1) == 0


def test_patience_is_that_of_the_mean() -> None:
    engine = whole(fused)
    one = trial(learning_rate=1.0, patience=2, dropout=0.5)
    engine.add(replace(one, epoch_stop=30))
    reports = train(engine, 20)[1]
    first = next(i for i, report in enumerate(reports) if report.is_spent)
    values = [report.metrics[METRIC] for report in reports[: first + 1]]
    assert values.index(max(values)) == first - 2
    assert {report.epoch for report in reports[first:]} == {first + 1}


def test_a_part_that_diverges_ends_the_trial_and_its_neighbours_go_on() -> None:
    engine = whole(fused)
    engine.add(trial(1, learning_rate=1e30))
    engine.add(trial(2))
    reports = train(engine, 3)
    assert reports[1][-1].failure is not None
    assert reports[1][-1].failure.reason == "nan"
    assert [report.epoch for report in reports[2]] == [1, 2, 3]
    engine.remove(1)
    assert engine.add(trial(1, learning_rate=0.1)) is None


def test_trials_of_other_structures_share_the_engine() -> None:
    engine = whole(fused)
    engine.add(trial(1))
    engine.add(trial(2, optimizer="adam"))
    reports = train(engine, 3)
    assert {key: [r.epoch for r in found] for key, found in reports.items()} == {
        1: [1, 2, 3],
        2: [1, 2, 3],
    }
    engine.remove(1)
    assert [report.epoch for report in train(engine, 2)[2]] == [4, 5]


def test_seeds_alone() -> None:
    engine = whole(fused, ValidationSpec(seeds=3), data().splits())
    engine.add(trial())
    (report,) = train(engine, 1)[1]
    assert report.metrics[f"{METRIC}_std"] >= 0
    assert engine.lane_epochs == 3
    assert not isinstance(whole(fused, ValidationSpec()), FoldEngine)


def test_one_fold_is_a_single_split() -> None:
    one = ValidationSpec(folds=1)
    assert not isinstance(whole(fused, one), FoldEngine)
    found: Any = data().folds(one)[0]
    assert torch.equal(found.val.x, data().splits().val.x)


def test_folds_by_groups_are_of_several_sizes() -> None:
    x, y = torch.cat([blobs().train.x, blobs().val.x]), torch.arange(120) % 3
    groups = torch.arange(120) // 7
    spec = ValidationSpec(folds=4)
    made = Data.split(x, y, groups=groups.numpy()).folds(spec)
    assert len({len(splits.train) for splits in made}) > 1
    curves = []
    for make in (solo, fused):
        engine = whole(make, spec, made)
        engine.add(trial())
        curves.append([dict(report.metrics) for report in train(engine, 3)[1]])
    for a, b in zip(*curves, strict=True):
        assert_same_metrics(a, b)


# What comes into which fold.


def rows_of(made: tuple[Any, ...]) -> list[tuple[list[int], list[int], list[int]]]:
    """Row numbers, which the first feature tells."""
    parts = [(s.train, s.val, s.test) for s in made]
    return [tuple(p.x[:, 0].int().tolist() for p in each if p is not None) for each in parts]


def numbered(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.float32).unsqueeze(1)


def test_every_row_is_validated_on_once_and_each_fold_trains_on_as_many() -> None:
    y = torch.tensor([0] * 90 + [1] * 13)
    spec = ValidationSpec(folds=4)
    made = Data.split(numbered(103), y).folds(spec)
    rows = rows_of(made)
    (test,) = {tuple(t) for _, _, t in rows}
    single = Data.split(numbered(103), y).splits().test
    assert single is not None
    assert sorted(test) == sorted(single.x[:, 0].int().tolist())
    validated = [row for _, val, _ in rows for row in val]
    pool = set(range(103)) - set(test)
    assert len(validated) == len(set(validated)) == len(pool) // 4 * 4
    assert all(set(train) == pool - set(val) for train, val, _ in rows)
    assert len({len(train) for train, _, _ in rows}) == 1
    positives = [sum(row >= 90 for row in val) for _, val, _ in rows]
    assert max(positives) - min(positives) <= 1
    assert rows_of(Data.split(numbered(103), y).folds(spec)) == rows
    other = ValidationSpec(folds=4, seed=1)
    assert rows_of(Data.split(numbered(103), y).folds(other)) != rows


def test_groups_stay_in_one_fold() -> None:
    groups = torch.arange(100) // 9
    rows = rows_of(
        Data.split(numbered(100), torch.arange(100) % 2, groups=groups.numpy()).folds(
            ValidationSpec(folds=3)
        )
    )
    for train, val, test in rows:
        parts = [{row // 9 for row in part} for part in (train, val, test)]
        assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    validated = [row for _, val, _ in rows for row in val]
    assert sorted(validated + rows[0][2]) == list(range(100))
    with pytest.raises(TaskError, match="groups of rows are too few for 20 folds"):
        Data.split(numbered(100), torch.arange(100) % 2, groups=groups.numpy()).folds(
            ValidationSpec(folds=20)
        )


def test_ordered_folds_are_those_of_scikit_learn() -> None:
    made = Data.split(numbered(100), torch.arange(100) % 2, order=range(100)).folds(
        ValidationSpec(folds=4)
    )
    rows = rows_of(made)
    expected = TimeSeriesSplit(4).split(range(80))
    for (train, val, test), (their_train, their_val) in zip(rows, expected, strict=True):
        assert (train, val) == (their_train.tolist(), their_val.tolist())
        assert test == list(range(80, 100))
    with pytest.raises(TaskError, match="2 different values of order; 3 folds need at least 4"):
        Data.split(numbered(90), torch.arange(90) % 2, order=[i // 30 for i in range(90)]).folds(
            ValidationSpec(folds=3)
        )


def test_preprocessing_is_fitted_on_each_folds_training_rows() -> None:
    for splits in folds():
        assert splits.train.x.mean(0).abs().max() < 1e-5
        assert splits.val.x.mean(0).abs().max() > 1e-4


def test_targets_of_a_regression_have_one_scale_in_all_folds() -> None:
    from hpo.tasks.tables.standard_units import StandardUnits

    units = StandardUnits()
    y = torch.arange(60.0) ** 2
    made = Data.split(numbered(60), y, preprocess=units).folds(ValidationSpec(folds=3))
    rows = [torch.cat([s.train.y, s.val.y]).sort().values for s in made]
    assert all(torch.equal(rows[0], other) for other in rows)
    assert float(rows[0].std(unbiased=False)) == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_folded_is_told() -> None:
    ready = Data.fixed((numbered(9), torch.arange(9) % 2), (numbered(9), torch.arange(9) % 2))
    with pytest.raises(TaskError, match="split already"):
        ready.folds(ValidationSpec(folds=3))
    with pytest.raises(SpecError, match="folds are validated on in turn"):
        ValidationSpec(folds=3, val_fraction=0.3)
    with pytest.raises(SpecError):
        ValidationSpec(folds=0)


class OneColumnEach:
    """A column for each value that the training rows have."""

    def fit(self, x: Any, y: Any) -> None:
        self.values = sorted(set(x[:, 0].tolist()))

    def transform(self, x: Any) -> Any:
        return (x == torch.tensor(self.values)).float()


def test_a_value_that_a_fold_lacks_keeps_the_features_as_many() -> None:
    x = (torch.arange(80) % 40).float().unsqueeze(1)
    made = Data.split(x, torch.arange(80) % 2, preprocess=OneColumnEach()).folds(
        ValidationSpec(folds=4)
    )
    (n_features,) = {splits.n_features for splits in made}
    parts: list[Any] = [splits.train for splits in made]
    n_used = [int(part.x.any(0).sum()) for part in parts]
    assert min(n_used) < n_features
    assert all(part.x.sum(1).eq(1).all() for part in parts)
