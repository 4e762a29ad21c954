"""What the progress display draws, as text of a given width."""

import dataclasses

import pytest
from rich.cells import cell_len

from hpo.cli.progress_view import View, all_failed, failure, lines, plain
from hpo.cli.run_display import outcome
from hpo.report.progress import LastFailure, Snapshot
from hpo.report.study_queries import Subject
from hpo.report.trial_pages import TrialRow
from hpo.spec.study_spec import StudySpec
from hpo.store.studies.trial_states import Counts

SPEC = StudySpec(
    name="digits-mlp",
    task="digits-mlp",
    metric="val_accuracy",
    budget={"trials": 60, "epochs": 27},
    space={
        "learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
        "batch_size": {"choices": [32, 64]},
        "depth": {"low": 1, "high": 4},
        "optimizer": "sgd",
    },
)
SUBJECT = Subject(1, "digits-mlp", "active", ("maximize",), ("val_accuracy",), SPEC, n_trials=60)
BEST = TrialRow(
    trial_id=38,
    number=37,
    state="COMPLETE",
    values=(0.98333,),
    n_epochs=27,
    epoch=22,
    best_epoch=22,
    params={"learning_rate": 0.3123, "batch_size": 64, "depth": 2, "optimizer": "sgd"},
    user_attrs={"best_epoch": 22},
    test={"test_accuracy": 0.97222, "test_loss": 0.1},
)
DONE = View(
    SUBJECT,
    Snapshot(Counts(complete=19, pruned=41), 512, BEST, None),
    overall_per_s=6.12,
    elapsed_s=9.2,
)


def _drawn(view: View, width: int = 120, *, ended: bool = True) -> list[str]:
    return [line.plain for line in lines(view, width, ended=ended)]


def test_the_end_of_a_study() -> None:
    bar = "━" * 24
    assert _drawn(DONE) == [
        f" 60/60 trials {bar} 41 stopped early · 512 of 1,620 epochs · 6.1 trials/s · 0:00:09",
        " best 0.9833 (trial 37, epoch 22)   learning_rate 0.312   batch_size 64   depth 2",
    ]


def test_on_the_way() -> None:
    view = View(
        SUBJECT,
        Snapshot(Counts(complete=10, pruned=4, failed=1, running=2), 200, None, None),
        trials_per_s=0.5,
        elapsed_s=30,
        left_s=90,
    )
    bar = "━" * 6 + "─" * 18
    assert _drawn(view, ended=False) == [
        f" 15/60 trials {bar} 4 stopped early · 1 failed · 200 of 1,620 epochs · 30 trials/min"
        " · 0:01:30 left"
    ]


def test_before_the_first_trial() -> None:
    view = View(SUBJECT, Snapshot(Counts(), 0, None, None), elapsed_s=2)
    (line,) = _drawn(view, ended=False)
    assert line.endswith("starting · 0 of 1,620 epochs · 0:00:02")


@pytest.mark.parametrize("width", range(20, 140, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    found = LastFailure(3, "user_code", "Traceback\nValueError: " + "long " * 40)
    view = View(
        SUBJECT,
        Snapshot(Counts(10, 40, 3, 2, 0), 512, BEST, found),
        notice="suspending the running trials; Ctrl-C again ends them at once",
    )
    assert all(cell_len(line) <= width for line in _drawn(view, width, ended=False))


def test_a_narrow_terminal_keeps_the_time() -> None:
    assert _drawn(DONE, 60)[0].endswith("━ 41 stopped early · 0:00:09")


def test_a_study_without_a_budget_of_trials() -> None:
    spec = SPEC.with_budget(total_epochs=500)
    table = spec.to_table()
    del table["budget"]["trials"]
    subject = Subject(1, "s", "active", ("maximize",), ("val_accuracy",), StudySpec(**table))
    view = View(subject, Snapshot(Counts(complete=3, running=1), 80, None, None), elapsed_s=5)
    (line,) = _drawn(view, ended=False)
    assert line.startswith(" 3 trials ")
    assert "80 of 500 epochs" in line


def test_a_budget_below_what_has_ended_stands_beside_it() -> None:
    subject = dataclasses.replace(SUBJECT, n_trials=1)
    view = View(subject, Snapshot(Counts(complete=199, pruned=1), 5400, None, None), elapsed_s=5)
    (line,) = _drawn(view, 200, ended=True)
    assert line.startswith(" 200/200 trials (budget 1) " + "━" * 24)
    assert "5,400 of 5,400 epochs" in line
    assert plain(view).startswith("200/200 trials (budget 1)")


def test_an_objective_has_steps_of_its_own() -> None:
    spec = StudySpec(name="o", objective="train.py:objective", budget={"trials": 2})
    subject = Subject(1, "o", "active", ("minimize",), ("value",), spec, n_trials=2)
    view = View(subject, Snapshot(Counts(complete=2), 0, BEST, None), elapsed_s=5)
    status, best, *_ = _drawn(view)
    assert "epoch" not in status
    assert best.startswith(" best 0.9833 (trial 37)   learning_rate")
    assert "optimizer sgd" in best


def test_one_line_for_a_log() -> None:
    assert plain(DONE) == "60/60 trials, 41 stopped early, best 0.9833 (trial 37)"


def test_a_failure_names_its_reason_and_where_to_look() -> None:
    found = LastFailure(3, "user_code", "Traceback ...\nValueError: broken\n")
    view = View(SUBJECT, Snapshot(Counts(failed=1), 0, None, found))
    assert failure(view) == "trial 3 failed: ValueError: broken (hpo show digits-mlp)"
    silent = View(SUBJECT, Snapshot(Counts(failed=1), 0, None, LastFailure(3, "oom", "")))
    assert failure(silent) == "trial 3 failed: oom (hpo show digits-mlp)"


def _ended(counts: Counts, reason: str | None, **budget: float) -> View:
    spec = StudySpec(**{**SPEC.to_table(), "budget": budget})
    n_trials = None if spec.budget.trials is None else int(spec.budget.trials)
    subject = dataclasses.replace(SUBJECT, spec=spec, n_trials=n_trials, reason=reason)
    return View(subject, Snapshot(counts, 9, None, None))


def test_why_a_study_ended() -> None:
    some = Counts(complete=4)
    assert outcome(_ended(some, "budget", trials=4), 0) == []
    spent = ["the budget was already spent; raise it with --trials"]
    assert outcome(_ended(some, "budget", trials=4), 4) == spent
    assert outcome(_ended(some, "budget", trials=2), 4) == spent
    assert outcome(_ended(some, "target", target=0.5), 0) == ["the target of 0.5000 is reached"]
    assert outcome(_ended(some, "deadline", hours=0.5), 0) == [
        "the 0.5 hours of the budget are over"
    ]


def test_whether_every_trial_failed() -> None:
    assert all_failed(_ended(Counts(failed=3), "budget", trials=3))
    assert not all_failed(_ended(Counts(failed=3, pruned=1), "budget", trials=4))
    assert not all_failed(_ended(Counts(), "deadline", hours=1))


def test_one_trial_is_no_trials() -> None:
    assert plain(_ended(Counts(complete=1), None, hours=1)) == "1 trial"
