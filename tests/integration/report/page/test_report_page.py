"""The report of a study: its sentences against the ledger, its page, and text that attacks it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest

from hpo.report.confirmation import Confirmation
from hpo.report.confirmation.estimates import Estimate
from hpo.report.confirmation.seed_results import ConfirmedTrial, RunResult, SeedResults
from hpo.report.confirmation.verdict import verdict
from hpo.report.page.report_page import of_report, render
from hpo.report.page.study_report import read_report
from hpo.report.study_queries import find
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import control, provenance, studies
from hpo.store.studies.provenance import DataVersion, Environment
from tests.kits.cli_kit import SPEC, Run, fill, fill_with_optuna

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
HOSTILE = "</style><script>alert(1)</script>| `x` *y* [z](javascript:1)\x1b[2J"


class Page(HTMLParser):
    """The text, the tags and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def db(run: Run) -> Database:
    return open_database("sqlite:///hpo.db", create=True)


def page_of(db: Database, name: str) -> Page:
    return Page(render(db, find(db, name)))


def test_the_page_of_a_running_study_answers_first_and_hides_the_test(
    db: Database, run: Run
) -> None:
    study_id = fill(db)
    assert run("report").stdout == "wrote digits-report.html\n"
    text = Path("digits-report.html").read_text("utf-8")
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert all(link.startswith("#") for link in page.links), page.links
    assert not re.findall(r"url\((?!#)|@import", text)
    headline = (
        "So far, trial 2 is the best of 3 complete trials: its val_accuracy on validation data is"
    )
    assert page.text.index(headline) < page.text.index("What mattered")
    assert "its result may still change (1 running)" in page.text
    assert "test_accuracy" not in page.text
    # Of the ledger's rows: trial 1 was pruned after 2 of 4 epochs; all others had 4, 4, 2, 4, 2.
    assert "1 trial of 5 was stopped early, after 2 of 4 epochs. This saved 2 epochs" in page.text
    assert "10% of the 20" in page.text
    assert "1 trial of 5 failed (20%)" in page.text
    assert "ValueError: broken on purpose" in page.text
    control.steer(db, study_id, "stop")
    with db.write() as conn:
        conn.exec_driver_sql("UPDATE hpo_worker SET ended_at = started_at")
    ended = page_of(db, "digits")
    assert "Trial 2 is the best of 3 complete trials" in ended.text
    assert "On test data, which the search never saw: test_accuracy 0.7500" in ended.text


def test_a_confirmed_winner_is_the_answer_and_noise_is_said_to_be_noise(db: Database) -> None:
    study_id = fill(db)
    control.steer(db, study_id, "stop")
    with db.write() as conn:
        conn.exec_driver_sql("UPDATE hpo_worker SET ended_at = started_at")
    found = read_report(db, find(db, "digits"))
    rows = {row.number: row for row in found.top}

    def confirmed(values: dict[int, list[float]]) -> Page:
        trials = [
            ConfirmedTrial(
                number,
                rows[number].params,
                rows[number].value,
                tuple(RunResult(i, 100 + i, "COMPLETE", value) for i, value in enumerate(of)),
            )
            for number, of in values.items()
        ]
        results = SeedResults.of("maximize", trials)
        text = verdict(results, "val_accuracy", n_left=0, searched_first=2)
        test = {"test_accuracy": Estimate(5, 0.625, 0.01, 0.6125, 0.6375)}
        seeds = (100, 101, 102, 103, 104)
        args = ("digits-confirm", "digits", "val_accuracy", seeds, results, 2, test, text)
        winner = results.winner
        assert winner is not None
        chosen = rows[winner.number]
        report = replace(found, confirmation=Confirmation(*args), chosen=chosen)
        page = Page(of_report(report))
        assert text in page.text
        return page

    # Trial 4 is better than trial 2 with each seed, though the search had trial 2 first.
    clear = confirmed({2: [0.60, 0.61, 0.59, 0.60, 0.61], 4: [0.70, 0.71, 0.70, 0.69, 0.71]}).text
    assert "Trial 4 is the best, and new seeds confirm it" in clear
    assert "over 5 new seeds: 0.7020" in clear
    assert "test_accuracy 0.6250 (95% interval 0.6125 to 0.6375)" in clear
    assert "Each trial was trained once" not in clear
    noise = confirmed({2: [0.60, 0.70, 0.59, 0.60, 0.61], 4: [0.70, 0.60, 0.61, 0.58, 0.60]}).text
    assert "Trial 2 is the best, but perhaps only by chance" in noise


def test_how_to_reproduce_it_is_what_was_recorded(db: Database) -> None:
    study_id = fill(db)
    packages = {"torch": "2.6.1", "numpy": "1.26.9"}
    first = Environment("3.11.1", "Linux", packages, "abc123", "work", True, {"t.csv": "ff00"})
    second = Environment("3.11.1", "Linux", {**packages, "torch": "2.7.0"}, "def456")
    assert "Packages, commit and files were not recorded" in page_of(db, "digits").text
    provenance.note_environment(db, study_id, first)
    provenance.note_data(db, study_id, DataVersion("d1g3st", 1797))
    text = page_of(db, "digits").text
    assert "abc123 in work/, with changes that were not committed" in text
    assert "torch 2.6.1, numpy 1.26.9" in text
    assert "SHA-256 ff00" in text
    assert "1,797 samples, checksum d1g3st" in text
    assert 'optimizer = "sgd"' in text
    provenance.note_environment(db, study_id, second)
    differences = "2 environments, which differ in the commit, the study's files and torch"
    assert differences in page_of(db, "digits").text


def test_text_of_the_database_is_data(db: Database) -> None:
    storage = optuna.storages.RDBStorage(db.url)
    study = optuna.create_study(study_name=HOSTILE, storage=storage)
    study.set_metric_names([HOSTILE])

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float(HOSTILE, 0, 1)
        trial.suggest_categorical("choice", [HOSTILE, "b"])
        trial.report(x, 1)
        trial.report(x, 2)
        return x

    study.optimize(objective, n_trials=30)
    storage.remove_session()
    storage.engine.dispose()
    page = Page(render(db, find(db, HOSTILE)))
    assert not page.tags & {"script", "img"}
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
    text = render(db, find(db, HOSTILE), "md")
    assert "\x1b" not in text
    assert "<" not in text
    # Where a bracket or a bar of the name stands, it has a backslash.
    assert not re.search(r"(?<!\\)\[z|x(?<!\\)`|(?<!\\)\*y", text)
    for line in text.splitlines():
        assert "alert(1)" not in line or len(re.findall(r"\\\|", line)) >= 1


def test_studies_without_a_result_say_so(db: Database) -> None:
    studies.create_or_join(db, SPEC, None)
    assert "There is no result: no trial has begun." in page_of(db, "digits").text
    storage = optuna.storages.RDBStorage(db.url)
    broken = optuna.create_study(study_name="broken", storage=storage)
    broken.optimize(lambda trial: 1 / 0, n_trials=3, catch=ZeroDivisionError)
    storage.remove_session()
    storage.engine.dispose()
    text = page_of(db, "broken").text
    assert "There is no result: all 3 trials that ended failed." in text
    assert "3 trials of 3 failed (100%)" in text
    assert "hpo knows neither its code nor its seed" in text


def test_several_objectives_have_compromises_and_no_winner(db: Database) -> None:
    fill_with_optuna(db)
    text = page_of(db, "two").text
    assert "are the best compromises between cost and gain" in text
    assert "The compromises" in text
    one = page_of(db, "infinite").text
    assert "Trial 2 is the best of 3 complete trials: its value is -inf." in one


def test_the_numbers_are_those_of_the_ledger(db: Database) -> None:
    fill(db)
    effort = read_report(db, find(db, "digits")).effort
    shares = {share.state: (share.n, share.n_epochs) for share in effort.shares}
    assert shares == {"COMPLETE": (3, 12), "PRUNED": (1, 2), "FAIL": (1, 2), "RUNNING": (1, 2)}
    assert effort.trained_s == pytest.approx(0.18)
    assert effort.epochs == 4


def test_markdown_is_chosen_by_the_ending_and_mistakes_are_named(db: Database, run: Run) -> None:
    fill(db)
    run("report", "digits", "-o", "page.MD")
    text = Path("page.MD").read_text("utf-8")
    assert text.startswith("# digits: report of a hyperparameter search\n")
    assert "| 2 | 0.7500 | 3 |" in text
    assert "```toml\n" in text
    assert "the ending must be one of html, md" in run("report", "-o", "x.pdf", expect=2).stderr
    assert "Did you mean digits?" in run("report", "digit", expect=2).stderr
    assert "there is no folder" in run("report", "-o", "none/x.html", expect=2).stderr
