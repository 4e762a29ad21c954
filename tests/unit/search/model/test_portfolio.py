"""First points placed into a study's space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpo.search.base.curves import Floats
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.initial_design import InitialDesign
from hpo.search.model.portfolio import Portfolio, first_points, read, shipped
from hpo.search.schedulers.registry import make_scheduler
from hpo.spec.space.search_space import Fixed, SearchSpace
from tests.kits import search_kit as kit

NAMES = {
    "learning_rate": ["learning_rate", "lr"],
    "batch_size": ["batch_size"],
    "momentum": ["momentum"],
    "depth": ["depth", "n_layers"],
    "dropout": ["dropout"],
    "optimizer": ["optimizer"],
}
PORTFOLIO = Portfolio(
    "test",
    NAMES,
    [
        {"optimizer": ["sgd"], "learning_rate": 0.1, "batch_size": 30, "depth": 5, "dropout": 0.0},
        {"optimizer": ["adam"], "learning_rate": 1e-3, "batch_size": 64, "depth": 2},
    ],
)


def _placed(table: dict[str, Any]) -> list[dict[str, Any]]:
    space = SearchSpace(table)
    encoder = Encoder.of_space(space)
    fixed = {n: p.value for n, p in space.parameters.items() if isinstance(p, Fixed)}
    rows = first_points(PORTFOLIO, encoder, fixed, seed=0)
    return [] if rows is None else encoder.decode(rows)


RATE = {"low": 1e-4, "high": 1.0, "log": True}
X = {"low": 0.0, "high": 1.0}


def test_values_are_found_by_name_and_by_other_names() -> None:
    points = _placed({"lr": RATE, "n_layers": {"low": 1, "high": 8}})
    assert points == [{"lr": pytest.approx(0.1), "n_layers": 5}]


def test_values_move_to_the_end_of_a_range_that_is_close() -> None:
    assert _placed({"learning_rate": RATE, "depth": {"low": 1, "high": 4}})[0]["depth"] == 4


def test_a_point_far_outside_is_left_out() -> None:
    low = {"low": 1e-6, "high": 1e-3, "log": True}
    assert _placed({"learning_rate": low, "depth": {"low": 1, "high": 8}}) == []


def test_of_choices_the_nearest_is_taken() -> None:
    point = _placed({"learning_rate": RATE, "batch_size": {"choices": [32, 64, 128]}})[0]
    assert point["batch_size"] == 32
    far = {"learning_rate": RATE, "batch_size": {"choices": [512, 1024]}}
    assert _placed(far) == []


def test_points_are_for_their_optimizers_only() -> None:
    depth = {"low": 1, "high": 8}
    fixed = _placed({"learning_rate": RATE, "depth": depth, "optimizer": "adam"})
    assert [point["depth"] for point in fixed] == [2]
    choices = {"choices": ["adam", "sgd"]}
    searched = _placed({"learning_rate": RATE, "depth": depth, "optimizer": choices})
    assert [point["optimizer"] for point in searched] == ["sgd", "adam"]
    assert _placed({"learning_rate": RATE, "depth": depth, "optimizer": "adagrad"}) == []


def test_unknown_parameters_are_spread() -> None:
    table = {"learning_rate": RATE, "depth": {"low": 1, "high": 8}, "x": {"low": 0.0, "high": 1.0}}
    points = _placed({**table, "optimizer": {"choices": ["adam", "sgd"]}})
    assert len({point["x"] for point in points}) == 2


def test_what_does_not_apply_is_left_out() -> None:
    table: dict[str, Any] = {"learning_rate": RATE, "depth": {"low": 1, "high": 8}}
    table |= {"optimizer": {"choices": ["adam", "sgd"]}}
    table["dropout"] = {"low": 0.0, "high": 0.5, "when": {"optimizer": "adam"}}
    points = _placed(table)
    assert ["dropout" in point for point in points] == [False, True]


def test_a_space_with_too_little_in_common_gets_no_points() -> None:
    assert _placed({"x": {"low": 0.0, "high": 1.0}, "depth": {"low": 1, "high": 8}}) == []
    assert _placed({"learning_rate": RATE}) == []


def test_the_shipped_file_fits_the_usual_space() -> None:
    portfolio = shipped()
    assert all(set(point) <= set(portfolio.names) for point in portfolio.points)
    space = SearchSpace(
        {
            "learning_rate": RATE,
            "batch_size": {"choices": [16, 32, 64, 128]},
            "momentum": {"low": 0.0, "high": 0.99},
            "weight_decay": {"low": 1e-6, "high": 0.1, "log": True},
            "depth": {"low": 1, "high": 4},
            "dropout": {"low": 0.0, "high": 0.8},
        }
    )
    rows = first_points(portfolio, Encoder.of_space(space), {}, seed=0)
    assert rows is not None
    assert len(rows) >= 4
    assert not np.isnan(rows).any()


def test_a_study_begins_with_its_first_points_and_sees_more_of_them() -> None:
    space = {"learning_rate": RATE, "depth": {"low": 1, "high": 5}, "x": {"low": 0.0, "high": 1.0}}
    study = kit.spec(space=space, budget={"trials": 50, "epochs": 27})
    scheduler = make_scheduler(study, portfolio=PORTFOLIO)
    run = kit.Run(study)
    run.scheduler = scheduler
    run.n_places = 3
    starts = run.fill().starts
    assert starts[0].params is not None
    assert starts[0].params["learning_rate"] == pytest.approx(0.1)
    assert starts[0].epoch_stop == 9
    assert starts[2].epoch_stop == 3


def test_a_file_is_read() -> None:
    text = 'version = "1"\n[names]\nlr = ["lr", "rate"]\n[[points]]\nlr = 0.1\n'
    portfolio = read(text)
    assert portfolio.usual_name("Rate") == "lr"
    assert portfolio.usual_name("other") == "other"
    assert portfolio.points == [{"lr": 0.1}]


def row_of(design: InitialDesign, number: int) -> Floats:
    row = design.row(number)
    assert row is not None
    return row


def test_many_first_trials_vary_the_first_points_and_few_do_not() -> None:
    space = SearchSpace.model_validate({"parameters": {"x": X, "y": X, "z": X}})
    encoder = Encoder.of_space(space)
    first = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    startup, even = InitialDesign(encoder, 0, first, n_usual=8), InitialDesign(encoder, 0)
    rows = [row_of(startup, number) for number in range(40)]
    assert np.allclose(rows[:2], first)
    is_even = [np.allclose(row, row_of(even, number)) for number, row in enumerate(rows)]
    assert [number for number in range(2, 40) if not is_even[number]] == [9, 10, 11, 13, 14, 15]
    near = [row for row, one in zip(rows[2:], is_even[2:], strict=True) if not one]
    moved = [min((np.abs(row - one) > 0.3).sum() for one in first) for row in near]
    assert max(moved) <= 2


def test_an_objective_with_an_unknown_optimizer_gets_no_learning_rate_from_it() -> None:
    assert PORTFOLIO.for_objective(["lr", "optimizer"]) == PORTFOLIO
    assert PORTFOLIO.for_objective(["lr", "momentum"]) == PORTFOLIO
    left = PORTFOLIO.for_objective(["lr", "width", "depth"])
    names = {name for point in left.points for name in point}
    assert names
    assert not names & {"learning_rate", "momentum", "optimizer"}
