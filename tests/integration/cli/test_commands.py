"""The commands that look, over a filled database; and wrong ones, over none."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from hpo.run.files.artifacts import Artifacts
from hpo.run.host import prefork
from hpo.store.db import schema
from hpo.store.db.database import Database
from hpo.store.db.opening import open_database
from hpo.store.studies import study_records
from tests.kits.cli_kit import Run, fill, fill_with_optuna, run_hpo

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs a command in an empty folder and expects no traceback."""
    return run_hpo


@pytest.fixture
def filled(folder: Path) -> Database:
    db = open_database("sqlite:///hpo.db", create=True)
    fill(db)
    return db


def test_ls(run: Run, filled: Database) -> None:
    fill_with_optuna(filled)
    header, *rows = run("ls").stdout.splitlines()
    assert header.split() == ["name", "state", "trials", "best", "metric", "workers", "updated"]
    assert rows[0].split()[:6] == ["digits", "active", "5/10", "0.7500", "val_accuracy", "1"]
    assert rows[1].split()[:5] == ["infinite", "optuna", "3", "-inf", "value"]
    records = json.loads(run("ls", "-f", "json").stdout)
    assert records[0]["best"] == 0.75
    assert records[1]["best"] == "-inf"
    assert records[0]["updated_at"].endswith("Z")
    (digits, *_) = csv.DictReader(io.StringIO(run("ls", "-f", "csv").stdout))
    assert list(digits) == list(records[0])
    assert digits["n_finished"] == "5"


def test_an_empty_database_is_no_error(run: Run, folder: Path) -> None:
    open_database("sqlite:///hpo.db", create=True).dispose()
    assert "holds no study; start one with" in run("ls").stdout
    assert run("ls", "-f", "json").stdout == "[]\n"
    assert run("ls", "-f", "csv").stdout.startswith("name,state,")


def test_show(run: Run, filled: Database) -> None:
    shown = run("show").stdout
    assert shown.startswith("digits · active · sqlite:///hpo.db\n")
    for line in (
        " trials     5 of 10: 3 complete, 1 pruned, 1 failed, 1 running",
        " epochs     18; at most 4 per trial",
        " best       0.7500 (trial 2)",
        " learning_rate  0.0001 .. 1 (log)",
        " width          32 | 64",
        " optimizer      = sgd",
        " user code  1     trial 3: ValueError: broken on purpose",
    ):
        assert line in shown.splitlines()
    assert "trial 3  ValueError: broken on purpose" in shown
    record = json.loads(run("show", "-f", "json").stdout)
    assert record["trials"]["finished"] == 5
    assert record["spec"]["space"]["optimizer"] == "sgd"
    assert record["outlook"] is None
    assert "outlook    more trials would likely gain " in run("show", "--outlook").stdout
    record = json.loads(run("show", "--outlook", "-f", "json").stdout)
    assert 0.0 <= record["outlook"]["chance"] <= 1.0


def test_trials(run: Run, filled: Database) -> None:
    header, *rows = run("trials").stdout.splitlines()
    assert len(rows) == 6
    # All of them have the same optimizer, so it is no column.
    assert header.split() == (
        [
            "trial",
            "state",
            "val_accuracy",
            "epochs",
            "time",
            "reason",
            "learning_rate",
            "width",
            "depth",
        ]
    )
    assert rows[3].split()[:4] == ["3", "FAIL", "-", "2"]
    assert "optimizer" in run("trials", "--all").stdout
    best = run("trials", "--sort", "best", "-n", "1").stdout.splitlines()
    assert best[1].split()[:3] == ["2", "COMPLETE", "0.7500"]
    assert best[-1] == " the first 1; --all shows every trial"
    assert run("trials", "--state", "waiting").stdout == "digits has no trials in these states\n"


def test_trials_for_programs(run: Run, filled: Database) -> None:
    records = json.loads(run("trials", "-f", "json").stdout)
    assert [record["number"] for record in records] == list(range(6))
    assert records[5]["value"] is None
    assert records[0]["user_attrs"] == {"best_epoch": 3}
    rows = list(csv.DictReader(io.StringIO(run("trials", "-f", "csv").stdout)))
    assert float(rows[0]["params.learning_rate"]) == records[0]["params"]["learning_rate"]
    assert [row["state"] for row in rows] == [record["state"] for record in records]


def test_best(run: Run, filled: Database) -> None:
    shown = run("best", "digits").stdout
    assert shown.startswith("digits · trial 2 · val_accuracy 0.7500 at epoch 3\n")
    record = json.loads(run("best", "-f", "json").stdout)
    assert (record["number"], record["value"]) == (2, 0.75)
    assert record["metrics"] == {"val_accuracy": 0.75, "train_loss": None}
    pasted = tomllib.loads(run("best", "--params").stdout)
    assert pasted == record["params"] == json.loads(run("best", "--params", "-f", "json").stdout)


def test_test_metrics_are_shown_once_the_study_has_ended(run: Run, filled: Database) -> None:
    assert json.loads(run("best", "-f", "json").stdout)["test"] == {}
    assert "test_accuracy" not in run("best").stdout
    run("stop", "digits")
    assert json.loads(run("best", "-f", "json").stdout)["test"] == {"test_accuracy": 0.75}
    assert " test_accuracy  0.7500" in run("best").stdout
    for command in (("trials", "--all"), ("trials", "-f", "json"), ("show", "-f", "json")):
        assert "test_accuracy" not in run(*command).stdout


def test_best_of_several_objectives(run: Run, filled: Database) -> None:
    fill_with_optuna(filled)
    header, *rows = run("best", "two").stdout.splitlines()
    assert header.split() == ["trial", "state", "cost", "gain", "steps", "time", "x"]
    assert [row.split()[2:4] for row in rows] == [["0", "0"], ["0.5000", "1"]]
    error = run("best", "two", "--params", expect=1).stderr
    assert error.startswith("error: two has several objectives and 2 trials on the Pareto front\n")


def test_db(run: Run, folder: Path) -> None:
    assert run("db", "upgrade").stdout == f"sqlite:///hpo.db is at revision {schema.HEAD}\n"
    assert run("db", "current").stdout.endswith(f"revision {schema.HEAD}, the newest\n")
    assert run("db", "check").stdout == "sqlite:///hpo.db has the expected schema\n"
    with Database.connect("sqlite:///hpo.db").write() as conn:
        conn.exec_driver_sql("DROP TABLE hpo_event")
    error = run("db", "check", expect=3).stderr
    assert error.startswith("error: sqlite:///hpo.db does not have the expected schema:\n")
    assert "hpo_event" in error


def test_init_writes_a_file_and_never_over_another(run: Run, folder: Path) -> None:
    assert run("init").stdout == (
        "wrote study.toml\n next: hpo check study.toml · hpo run study.toml\n"
    )
    before = (folder / "study.toml").read_text()
    error = run("init", "--task", "wine", expect=2).stderr
    assert error == "error: study.toml already exists\nhint: --force overwrites it\n"
    assert (folder / "study.toml").read_text() == before
    run("init", "--task", "wine", "--force")
    assert tomllib.loads((folder / "study.toml").read_text())["task"] == "wine"


def test_init_looks_before_it_writes(run: Run, folder: Path) -> None:
    (folder / "mine.py").write_text("import hpo\nclass Net(hpo.Task):\n    metric = 'val_f1'\n")
    (folder / "t.csv").write_text("size,label\n" + "1,a\n2,b\n" * 10)

    def told(*arguments: str) -> str:
        return run("init", *arguments, expect=2).stderr.removeprefix("error: ").strip()

    assert told("--task", "wien") == "--task: no task is called 'wien'; did you mean wine?"
    assert told("--task", "mine.py:Nte") == "--task: mine.py has no Nte; did you mean Net?"
    assert told("--objective", "no.py:f").startswith("--objective: no file no.py in ")
    assert told("--data", "t.cvs", "--target", "label").endswith("did you mean t.csv?")
    assert (
        told("--data", "t.csv")
        == "--target COLUMN is missing; the columns of t.csv are size, label"
    )
    assert told("--data", "t.csv", "--target", "labl") == (
        "--target: no column labl; there are size, label; did you mean label?"
    )
    assert told("--data", "no", "--task", "images").startswith("--data: no folder of images")
    assert not (folder / "study.toml").exists()
    run("init", "--task", "mine.py:Net")
    table = tomllib.loads((folder / "study.toml").read_text())
    assert (table["metric"], table["direction"]) == ("val_f1", "maximize")


def test_a_folder_of_images(run: Run, folder: Path) -> None:
    for i in range(24):
        path = folder / "shapes" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (i * 9, 255 * (i % 2), 0)).save(path)
    error = run("run", "./shapes", expect=2).stderr
    assert error == run("run", "shapes", expect=2).stderr
    assert error == (
        "error: shapes is a folder of images, not a study file\n"
        "hint: `hpo init --data shapes` writes a study of it\n"
    )
    run("init", "--data", "shapes")
    table = tomllib.loads((folder / "study.toml").read_text())
    assert (table["task"], table["task_options"]) == ("images", {"data": "shapes"})
    assert table["space"]["optimizer"] == "adam"
    assert run("check", "study.toml", "--device", "cpu").stdout.startswith("study is valid\n")


def test_what_is_no_study_says_how_it_becomes_one(run: Run, folder: Path) -> None:
    (folder / "t.csv").touch()
    (folder / "empty").mkdir()
    error = run("run", "t.csv", expect=2).stderr
    assert error.endswith("hint: `hpo init --data t.csv --target COLUMN` writes a study of it\n")
    assert run("run", "c.csv", expect=2).stderr == (
        "error: c.csv: no such file. Did you mean t.csv?\n"
    )
    assert run("run", "empty", expect=2).stderr == (
        "error: empty is a folder that holds no study file\n"
    )


def test_check_accepts_what_init_wrote(run: Run, folder: Path) -> None:
    run("init")
    shown = run("check", "study.toml", "--device", "cpu").stdout
    assert shown.startswith("study is valid\n")
    assert "val_accuracy" in shown
    assert not (folder / "hpo.db").exists()


def test_check_accepts_a_table(run: Run, folder: Path) -> None:
    rows = [f"{i % 7},{'ab'[i % 2]},{'yes' if i % 3 else 'no'}" for i in range(90)]
    (folder / "my data.csv").write_text("\n".join(["size,kind,label", *rows]) + "\n")
    run("init", "sub/t.toml", "--data", "my data.csv", "--target", "label")
    table = tomllib.loads((folder / "sub/t.toml").read_text())
    assert table["task_options"] == {"data": "../my data.csv", "target": "label"}
    assert run("check", "sub/t.toml", "--device", "cpu").stdout.startswith("t is valid\n")


NO_DB = (
    "there is no database at sqlite:///hpo.db; `hpo run STUDY.toml` creates one, "
    "--storage or $HPO_STORAGE names another"
)
WRONG = [
    (["ls"], 3, NO_DB),
    (["show", "x"], 3, NO_DB),
    (["trials"], 3, NO_DB),
    (["best"], 3, NO_DB),
    (["worker", "x"], 3, NO_DB),
    (["dashboard"], 3, NO_DB),
    (["db", "check"], 3, NO_DB),
    (
        ["ls", "--storage", "oracle://x/y"],
        3,
        "oracle://x/y: hpo has no database called 'oracle' "
        "(known: sqlite, postgresql, mysql, mariadb)",
    ),
    (
        ["ls", "--storage", "postgresql://me:secret@h"],
        3,
        "postgresql+psycopg://me:***@h names no database",
    ),
    (["run"], 2, "name a study file, a study, --objective FILE.py:FUNCTION, or a command after --"),
    (["run", "x.toml", "--", "t"], 2, "give the study x.toml or a command after --, not both"),
    (["run", "--", "t", "--lr", "~lgo(1, 2)"], 2, "the command has 1 mistake\n  --lr ~lgo(1, 2)"),
    (["run", "x.toml", "--objective", "a.py:f"], 2, "give a study or --objective, not both"),
    (
        ["run", "--objective", "no.py:f"],
        2,
        "the study has 2 mistakes\n  objective   no file no.py in ",
    ),
    (["run", "no.toml"], 2, "no.toml: no such file"),
    (["check", "no.toml"], 2, "no.toml: no such file"),
    (["init", "--task", "tabular"], 2, "a tabular study needs --data FILE"),
    (["init", "--task", "images"], 2, "a study of images needs --data FOLDER, with one"),
    (
        ["init", "--task", "digits-mlp", "--data", "x.csv"],
        2,
        "--data and --target are for --task tabular or images, not for digits-mlp",
    ),
    (
        ["init", "--task", "digits-mlp", "--objective", "a.py:f"],
        2,
        "give --task or --objective, not both",
    ),
    (["init", "--name"], 2, "Option '--name' requires an argument."),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), WRONG, ids=[" ".join(a) for a, *_ in WRONG]
)
def test_a_wrong_command_line(
    run: Run, folder: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run(*arguments, expect=code)
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")
    assert "secret" not in result.stderr
    assert list(folder.iterdir()) == []


def test_a_wrong_name_gets_the_nearest(run: Run, filled: Database) -> None:
    for command in ("show", "trials", "best"):
        error = run(command, "digts", expect=2).stderr
        assert error == ("error: sqlite:///hpo.db holds no study 'digts'. Did you mean digits?\n")


def test_a_folder_is_no_study(run: Run, filled: Database, folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "a.toml").touch()
    error = run("run", "mine", expect=2).stderr
    assert error == "error: mine is a folder. Name one of its files: mine/a.toml\n"


def test_a_study_without_a_complete_trial_has_no_best(run: Run, folder: Path) -> None:
    import optuna

    db = open_database("sqlite:///hpo.db", create=True)
    optuna.create_study(study_name="empty", storage=optuna.storages.RDBStorage(db.url))
    assert run("best", expect=1).stderr == (
        "error: empty has no complete trial yet\nhint: see `hpo show empty`\n"
    )
    assert run("trials").stdout == "empty: no trials\n"


def test_the_dashboard_cannot_listen_twice(run: Run, filled: Database) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = run("dashboard", "--port", port, expect=5).stderr
    assert error.startswith(f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_the_params_of_the_best_trial_are_enqueued_as_they_are_printed(
    run: Run, filled: Database
) -> None:
    printed = run("best", "--params").stdout
    for words in (printed.split(), [printed], printed.splitlines()):
        assert "waits to start with learning_rate = " in run("enqueue", "digits", *words).stdout


LONG = "a" * 5_000


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", LONG], 2, "file name too long"),
        (["run", f"{LONG}.toml"], 2, "file name too long"),
        (["ls", "--storage", f"sqlite:///{LONG}.db"], 2, "file name too long"),
        (["init", f"{LONG}.toml"], 2, "file name too long"),
        (["run", "a\udcff.toml"], 2, "a\ufffd.toml: no such file."),
        (["ls", "--storage", "sqlite:///a\udcff.db"], 2, "is not UTF-8 text"),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_paths_that_no_system_takes(
    run: Run, folder: Path, arguments: list[str], code: int, told: str
) -> None:
    error = run(*arguments, expect=code).stderr
    assert told in error
    assert "unexpected" not in error
    assert max(map(len, error.splitlines())) < 1_100


def test_workers_are_not_forked_for_a_study_that_is_not_there(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forked(n: int) -> None:
        raise AssertionError("workers were forked")

    monkeypatch.setattr(prefork, "fill", forked)
    assert run("run", "nofile.toml", expect=2).stderr == "error: nofile.toml: no such file.\n"
    run("run", "--objective", "nofile.py:f", "--trials", "1", expect=2)
    run("worker", "nobody", expect=3)


def test_show_says_where_the_files_are(run: Run, filled: Database) -> None:
    assert json.loads(run("show", "-f", "json").stdout)["files"] is None
    assert "files in" not in run("show").stdout
    record = study_records.load(filled, "digits")
    folder = Artifacts.of(record, filled.url).folder
    folder.mkdir(parents=True)
    assert run("show").stdout.splitlines()[-1].startswith(f"files in {folder}: ")
    assert json.loads(run("show", "-f", "json").stdout)["files"] == str(folder)
