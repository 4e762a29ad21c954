"""Optuna's plots of studies of all kinds: what they show, and what cannot be shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from hpo.errors import HpoError, SpecError
from hpo.report.plots import optuna_plots, pictures
from hpo.report.plots.importance import read_importance
from hpo.report.plots.optuna_study import quiet
from hpo.report.plots.plotted_trials import read_plotted, targets
from hpo.report.plots.rendering import optuna_plot
from hpo.report.study_queries import find
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.optuna.storage import Storage

pytestmark = pytest.mark.integration

Objective = Callable[[Trial], "float | Sequence[float]"]
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return open_database(f"sqlite:///{tmp_path}/hpo.db", create=True)


def study(
    db: Database,
    objective: Objective,
    n: int = 40,
    directions: Sequence[str] = ("minimize",),
    metrics: Sequence[str] = (),
) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=0)
    made = optuna.create_study(
        study_name="s",
        storage=Storage(db),
        directions=[StudyDirection[each.upper()] for each in directions],
        sampler=sampler,
    )
    if metrics:
        with quiet():
            made.set_metric_names(list(metrics))
    made.optimize(objective, n_trials=n, catch=(ZeroDivisionError,))
    return made


def counts_of_dots(axes: Axes) -> list[int]:
    dots = [each for each in axes.collections if isinstance(each, PathCollection)]
    return [len(np.asarray(each.get_offsets())) for each in dots]


def mixed(trial: Trial) -> float:
    """A conditional space; x decides, and a third of the trials is pruned."""
    x = trial.suggest_float("x", 1e-4, 1.0, log=True)
    y = trial.suggest_int("y", 1, 9)
    kind = trial.suggest_categorical("kind", ["sgd", "adam"])
    if kind == "adam":
        trial.suggest_float("beta", 0.8, 0.99)
    trial.suggest_float("constant", 3.0, 3.0)
    value = abs(math.log10(x) + 2) + 0.01 * y
    trial.report(value, 1)
    if trial.number % 3 == 2:
        raise optuna.TrialPruned
    return value


def test_what_decides_is_the_most_important(db: Database) -> None:
    study(db, mixed)
    subject = find(db)
    found = read_importance(db, subject, targets(subject)[0])
    assert next(iter(found.shares)) == "x"
    assert found.shares["x"] > 0.5
    assert "constant" not in found.shares
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.n_trials == 40
    assert found.sentence.startswith("x matters most for value (")


def test_importance_of_each_objective_is_for_its_own_direction(db: Database) -> None:
    def both(trial: Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        y = trial.suggest_float("y", 0, 1)
        # The best gains are at y = 1, and the worst ones anywhere.
        return x, max(0.0, y - 0.8)

    study(db, both, 100, ("minimize", "maximize"), ("cost", "gain"))
    subject = find(db)
    cost, gain = (read_importance(db, subject, target) for target in targets(subject))
    assert next(iter(cost.shares)) == "x"
    assert next(iter(gain.shares)) == "y"
    shown = optuna_plots.content(db, subject, "importance", "matplotlib")
    patches = pictures.draw(shown).axes[0].patches
    bars = [patch for patch in patches if isinstance(patch, Rectangle) and patch.get_width() > 0]
    of_cost = dict(zip(reversed(shown.params), bars[: len(bars) // 2], strict=True))
    assert of_cost["x"].get_width() == pytest.approx(cost.shares["x"])


def test_trials_that_were_stopped_are_drawn(db: Database) -> None:
    study(db, mixed)
    shown = optuna_plots.content(db, find(db), "slice", "matplotlib", params=["kind"])
    assert "40 trials; 13 stopped early (grey)" in shown.summary
    axes = pictures.draw(shown).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sgd", "adam"]
    assert counts_of_dots(axes) == [27, 13]
    page = optuna_plot(db, find(db), "slice", "html", params=["kind"]).decode()
    assert page.count("stopped early") >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*(k for k in optuna_plots.KINDS if k != "pareto")])
def test_a_conditional_space_with_choices_and_a_constant_is_drawn(db: Database, kind: str) -> None:
    study(db, mixed)
    assert optuna_plot(db, find(db), kind, "png").startswith(b"\x89PNG")
    page = optuna_plot(db, find(db), kind, "html").decode()
    # plotly.js is inside, and nothing is loaded from elsewhere.
    assert len(page) > 1_000_000
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)


def test_a_pareto_front_has_the_trials_of_both_objectives(db: Database) -> None:
    def both(trial: Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, 1 - x + (trial.number % 2)

    study(db, both, 20, ("minimize", "minimize"), ("cost", "loss"))
    shown = optuna_plots.content(db, find(db), "pareto", "matplotlib")
    axes = pictures.draw(shown).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cost", "loss")
    # Dominated ones, and the front.
    assert counts_of_dots(axes) == [10, 10]


def test_values_that_no_axis_can_show_are_left_out_and_counted(db: Database) -> None:
    def diverging(trial: Trial) -> float:
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 0, 1)
        special = {0: math.inf, 1: -math.inf, 2: 1e30}
        return special.get(trial.number, trial.params["x"])

    study(db, diverging)
    subject = find(db)
    plotted = read_plotted(db, subject, targets(subject), 100)
    assert [value.number for value in plotted.values] == list(range(3, 40))
    assert "1 diverged, not shown; 2 without a finite value, not shown" in plotted.summary()
    for kind in ("parallel", "contour", "rank"):
        assert optuna_plot(db, subject, kind, "svg")


def test_of_many_trials_the_best_are_shown_and_a_sample(db: Database) -> None:
    study(db, lambda trial: (trial.suggest_float("x", 0, 1) - 0.3) ** 2, 60)
    subject = find(db)
    plotted = read_plotted(db, subject, targets(subject), 20)
    everything = sorted(
        read_plotted(db, subject, targets(subject), 99).values, key=lambda v: v.values
    )
    assert {v.number for v in everything[:5]} <= {v.number for v in plotted.values}
    assert len(plotted.values) == 20
    assert plotted.summary() == "20 of 60 trials"


def test_names_and_choices_of_others_are_text(db: Database) -> None:
    def hostile(trial: Trial) -> float:
        trial.suggest_categorical("$a$ \x1b[31m", [f"{HOSTILE}{i}" for i in range(2)])
        return trial.suggest_float(HOSTILE, 0, 1) + trial.suggest_float("%{x}</script>", 0, 1)

    study(db, hostile, 20)
    for kind in ("importance", "parallel", "slice", "rank", "contour"):
        page = optuna_plot(db, find(db), kind, "html").decode()
        body = page[page.rindex("Plotly.newPlot(") :]
        assert "<img" not in body
        assert "\\u003cimg" not in body
        assert body.count("</script>") == 1
        picture = optuna_plot(db, find(db), kind, "svg").decode()
        assert "<img" not in picture


def test_what_cannot_be_plotted_is_said(db: Database) -> None:
    made = study(db, lambda trial: 1.0 / trial.suggest_int("x", 0, 0), 3)
    subject = find(db)

    def refused(kind: str, **options: Sequence[str]) -> str:
        with pytest.raises(HpoError) as raised:
            optuna_plot(db, subject, kind, "png", **options)
        return str(raised.value)

    for kind in optuna_plots.KINDS:
        if kind != "pareto":
            assert "nothing to plot yet: no trial has a value" in refused(kind)
    assert "has one objective, value; a Pareto front needs two" in refused("pareto")
    made.add_trial(
        optuna.create_trial(
            value=1.0,
            params={"x": 0},
            distributions={"x": optuna.distributions.IntDistribution(0, 0)},
            state=TrialState.COMPLETE,
        )
    )
    assert "importance needs at least 10 trials with a value; s has 1" in refused("importance")
    assert "needs at least 2 parameters that vary" in refused("contour")
    assert "did you mean value?" in refused("slice", metrics=["valu"])
    assert "no trial of s has a parameter 'y'" in refused("slice", params=["y"])
    # One trial is a line and a dot.
    for kind in ("parallel", "slice"):
        assert optuna_plot(db, subject, kind, "png")
    with pytest.raises(SpecError):
        optuna_plot(db, subject, "rank", "png", params=["x", "z"])
