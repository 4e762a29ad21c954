"""``hpo plot``: what is drawn, and what is said where nothing can be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from hpo.report.learning_curves import Curve, Value, read_curves, read_values
from hpo.report.plots import chart_pictures, learning_charts
from hpo.report.study_queries import Subject, find
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from tests.kits.cli_kit import Run, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

HIGHEST = Subject(1, "s", "active", ("maximize",), ("val_accuracy",))


@pytest.fixture
def filled(run: Run) -> Database:
    db = open_database("sqlite:///hpo.db", create=True)
    fill(db)
    return db


def points_of(line: Line2D) -> list[tuple[float, float]]:
    xs: Any = line.get_xdata()
    ys: Any = line.get_ydata()
    return list(zip(xs, ys, strict=True))


def lines_of(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    return {str(line.get_label()): points_of(line) for line in axes.get_lines()}


def curve(number: int, **points: list[float]) -> Curve:
    found = {k: (tuple(range(1, len(v) + 1)), tuple(v)) for k, v in points.items()}
    return Curve(number, "COMPLETE", found)


def drawn_curves(subject: Subject, found: list[Curve], chosen: list[int]) -> Figure:
    return chart_pictures.draw(learning_charts.curves(subject, found, chosen))


def drawn_history(subject: Subject, found: list[Value]) -> Figure:
    return chart_pictures.draw(learning_charts.history(subject, found))


def test_curves_of_the_best_trial_are_a_picture(run: Run, filled: Database) -> None:
    assert run("plot", "curves").stdout == "wrote digits-curves.png\n"
    with Image.open("digits-curves.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
    assert run("plot", "history", "digits", "-o", "values.SVG").stdout == "wrote values.SVG\n"
    assert "<svg" in Path("values.SVG").read_text()
    run("plot", "curves", "--trial", "0", "--trial", "1", "-o", "two.pdf")
    assert Path("two.pdf").read_bytes().startswith(b"%PDF")


def test_what_is_drawn_is_what_was_reported(filled: Database) -> None:
    subject = find(filled)
    found = read_curves(filled, subject, [2])
    with filled.read() as conn:
        query = "SELECT epoch, metrics FROM hpo_epoch JOIN trials USING (trial_id) WHERE number = 2"
        reported = conn.exec_driver_sql(query).all()
    (second,) = (c for c in found if c.number == 2)
    assert second.points["val_accuracy"][0] == tuple(sorted(epoch for epoch, _ in reported))
    figure = drawn_curves(subject, found, [2])
    accuracy = figure.axes[0]
    assert accuracy.get_ylabel() == "accuracy"
    shown = lines_of(accuracy)["validation"]
    assert shown == list(zip(*second.points["val_accuracy"], strict=True))
    (others,) = (c for c in accuracy.collections if isinstance(c, LineCollection))
    assert len(others.get_segments()) == len(found) - 1


def test_training_and_validation_share_a_panel() -> None:
    own = curve(4, train_loss=[0.9, 0.5], val_loss=[1.0, 0.7], val_accuracy=[0.6, 0.8])
    other = curve(5, train_loss=[2.0], val_loss=[2.0], val_accuracy=[0.1])
    figure = drawn_curves(HIGHEST, [own, other], [4])
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss"]
    lines = lines_of(figure.axes[1])
    assert lines == {"training": [(1, 0.9), (2, 0.5)], "validation": [(1, 1.0), (2, 0.7)]}
    both = drawn_curves(HIGHEST, [own, other], [4, 5])
    named = set(lines_of(both.axes[1]))
    assert named == {f"trial {n}, {part}" for n in (4, 5) for part in ("training", "validation")}


def test_what_diverged_does_not_flatten_the_rest() -> None:
    values = [1e30, *[1.0 - 0.1 * i for i in range(9)]]
    lowest = Subject(1, "s", "active", ("minimize",), ("val_loss",))
    low, high = drawn_curves(lowest, [curve(0, val_loss=values)], [0]).axes[0].get_ylim()
    assert low < 0.2 < 1.0 < high < 10.0
    worst = drawn_curves(lowest, [curve(0, val_loss=[0.1, 0.1, 0.1, 9.0])], [0])
    assert worst.axes[0].get_ylim()[1] > 9.0
    endless = drawn_curves(lowest, [curve(0, val_loss=[float("nan"), float("inf")])], [0])
    assert endless.axes[0].get_ylabel() == "loss"


def test_the_best_so_far_is_a_staircase_of_complete_trials() -> None:
    found = [
        Value(0, "COMPLETE", (0.5,)),
        Value(1, "PRUNED", (0.9,)),
        Value(2, "COMPLETE", (0.4,)),
        Value(4, "COMPLETE", (0.7,)),
        Value(6, "PRUNED", (0.2,)),
    ]
    (axes,) = drawn_history(HIGHEST, found).axes
    assert lines_of(axes) == {"best so far: 0.7000": [(0, 0.5), (4, 0.7), (6, 0.7)]}
    several = Subject(1, "s", "active", ("maximize", "minimize"), ("a", "b"))
    both = drawn_history(several, [Value(0, "COMPLETE", (1.0, 2.0))])
    assert [axes.get_ylabel() for axes in both.axes] == ["a", "b"]


def test_a_study_of_optuna_has_curves_too(run: Run, filled: Database) -> None:
    fill_with_optuna(filled)
    theirs = optuna.create_study(study_name="a/b c", storage=filled.url)
    trial = theirs.ask()
    for step, value in enumerate((3.0, 2.0)):
        trial.report(value, step)
    theirs.tell(trial, 2.0)
    assert run("plot", "curves", "a/b c").stdout == "wrote a-b-c-curves.png\n"
    (found,) = read_curves(filled, find(filled, "a/b c"))
    assert found.points == {"value": ((0, 1), (3.0, 2.0))}
    assert read_values(filled, find(filled, "a/b c")) == [Value(0, "COMPLETE", (2.0,))]


def test_mistakes_are_told_before_anything_is_drawn(run: Run, filled: Database) -> None:
    for arguments, expect, said in (
        (
            ("curves", "-o", "x.pgn"),
            2,
            "the ending must be one of png, svg, pdf, html; did you mean png?",
        ),
        (("curves", "-o", "x"), 2, "x: the ending must be one of png, svg, pdf, html"),
        (("history", "-o", "no/x.png"), 2, "there is no folder no"),
        (("curves", "--trial", "99"), 2, "digits has no trial 99; it has 6 trials"),
        (("curves", *(f"--trial={n}" for n in range(7))), 2, "at most 6 trials in full"),
        (("curve",), 2, "Did you mean curves?"),
        (("history", "digit"), 2, "Did you mean digits?"),
    ):
        assert said in run("plot", *arguments, expect=expect).stderr
    optuna.create_study(study_name="new", storage=filled.url)
    for kind in ("curves", "history"):
        assert "new has nothing to plot yet" in run("plot", kind, "new", expect=1).stderr
    assert not list(Path().glob("*.png"))


def test_a_picture_opens_again(run: Run, filled: Database) -> None:
    figure = drawn_history(find(filled), read_values(filled, find(filled)))
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    with Image.open(stream) as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
    # The dots are there, not only axes.
    assert colours is not None
    assert (0, 114, 178) in {colour for _, colour in colours}
