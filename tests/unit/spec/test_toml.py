"""Study files: reading, writing, and files that cannot be read at all."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from textwrap import dedent

import pytest

from hpo.errors import SpecError
from hpo.spec import toml
from hpo.spec.space.search_space import Categorical, Float, Int
from hpo.spec.study_spec import Budget, StudySpec

TEXT = dedent("""\
    name = "digits-mlp"
    task = "digits-mlp"
    metric = "val_accuracy"
    direction = "maximize"
    seed = 3

    [task_options]
    file = "a \\"b\\".csv"
    since = 2024-01-31
    nested = { deep = [1, 2.5, { x = true }], "odd key" = {} }

    [budget]
    trials = 60

    [space]
    learning_rate = { low = 0.0001, high = 1.0, log = true }
    weight_decay = { low = 1e-6, high = 0.1, log = true }
    batch_size = { choices = [32, "full"] }
    depth = { low = 1, high = 4 }
    optimizer = { choices = ["sgd", "adam", "adamw"] }
    beta1 = { low = 0.8, high = 0.999, when = { optimizer = ["adam", "adamw"] } }
    nesterov = { value = true, when = { optimizer = "sgd" } }
    schedule = "cosine"

    [sampler]
    name = "random"

    [pruner]
    name = "asha"
    reduction_factor = 2

    [validation]
    test_fraction = 0.0
""")


def test_text_and_spec_are_each_others_mirror() -> None:
    spec = toml.loads(TEXT)
    assert toml.dumps(spec) == TEXT
    assert spec.space["batch_size"] == Categorical([32, "full"])
    assert spec.space["depth"] == Int(1, 4)
    assert spec.space["beta1"] == Float(0.8, 0.999, when={"optimizer": ("adam", "adamw")})
    assert spec.task_options["since"] == dt.date(2024, 1, 31)
    assert spec.pruner.options == {"reduction_factor": 2}


def test_a_minimal_study_stays_minimal() -> None:
    spec = StudySpec(name="x", task="t", budget=Budget(hours=2), sampler="auto", pruner="auto")
    assert toml.dumps(spec) == 'name = "x"\ntask = "t"\n\n[budget]\nhours = 2.0\n'


def test_strings_of_all_kinds_are_written() -> None:
    odd = "\"quotes\" \\ 'and' \n\t\x00\x1b\x7f \u2028 é 中 😀"
    spec = StudySpec(name="é 😀", task="t", budget={"trials": 1}, task_options={odd: [odd]})
    assert toml.loads(toml.dumps(spec)) == spec


def test_numbers_of_all_sizes_are_written() -> None:
    odd = [1e-300, 5e-324, 1.5e300, -0.1, 1e16, 123456789012345678, float("inf"), -float("inf")]
    spec = StudySpec(name="x", task="t", budget={"trials": 1}, task_options={"odd": odd})
    assert toml.loads(toml.dumps(spec)) == spec
    assert "1e-300, 5e-324" in toml.dumps(spec)


def test_a_study_without_a_name_gets_that_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "my_study.toml"
    file.write_text('task = "t"\n[budget]\ntrials = 1\n')
    assert toml.load(file).name == "my_study"


def test_entries_from_outside_go_first(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('task = "t"\n[budget]\ntrials = 0\nepochs = 9\n')
    assert toml.load(file, {"budget": {"trials": 5, "hours": None}, "seed": None}).budget == Budget(
        trials=5, epochs=9
    )
    file.write_text('task = "t"\n')
    spec = toml.load(file, {"budget": {"trials": 5}, "seed": 7, "sampler": "random"})
    assert spec.budget == Budget(trials=5)
    assert (spec.seed, spec.sampler.name) == (7, "random")
    with pytest.raises(SpecError, match=r"budget\.trials   must be at least 1; found 0"):
        toml.load(file, {"budget": {"trials": 0}})


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert toml.load(file) == toml.loads(TEXT)


def _message(path: Path | str) -> str:
    with pytest.raises(SpecError) as caught:
        toml.load(path)
    return str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    Path("studies/digits_mlp.toml").touch()
    Path("mine.toml").touch()
    expected = "studies/digitsmlp.toml: no such file. Did you mean studies/digits_mlp.toml?"
    assert _message("studies/digitsmlp.toml") == expected
    assert _message("digits_mlp.toml").endswith("Did you mean studies/digits_mlp.toml?")
    assert _message("digits-mlp").endswith("Did you mean studies/digits_mlp.toml?")
    assert _message("mine") == "mine: no such file. Did you mean mine.toml?"
    assert _message("nowhere/zzz.toml") == "nowhere/zzz.toml: no such file."


def test_a_directory_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch()
    assert _message(tmp_path) == (
        f"{tmp_path} is a folder. Name one of its files: {tmp_path}/a.toml"
    )


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b'name = "x"\ntask = "\xe9"\n')
    assert _message(file) == f"{file} is not UTF-8 text (line 2); save it as UTF-8"
    file.write_bytes(b"#" * 1_000_001)
    assert _message(file) == f"{file} is larger than a study file can be (1 MB)"
    assert _message(file / "y.toml") == f"{file}/y.toml cannot be read: not a directory"
    assert _message("a\0b").endswith("cannot be read: embedded null byte")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("train.py", "is Python code", "`hpo run --objective {}:FUNCTION`"),
        ("my.csv", "is a table", "`hpo init --data {} --target COLUMN`"),
        ("my.parquet", "is a table", "`hpo init --data {} --target COLUMN`"),
    ],
)
def test_what_belongs_into_a_study_is_none(
    tmp_path: Path, name: str, message: str, hint: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"a,b\xff\n")
    with pytest.raises(SpecError) as caught:
        toml.load(file)
    assert str(caught.value) == f"{file} {message}, not a study file"
    assert caught.value.hint is not None
    assert hint.format(file) in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.touch(mode=0o000)
    assert _message(file) == f"{file} cannot be read: permission denied"


def test_a_difference_is_shown_as_lines() -> None:
    old = toml.dumps(StudySpec(name="x", task="t", budget={"trials": 1}, seed=1))
    new = toml.dumps(StudySpec(name="x", task="t", budget={"trials": 1}, seed=2))
    shown = toml.diff(old, new, "x").splitlines()
    assert shown[:2] == ["--- x (in the database)", "+++ x (given now)"]
    assert [line for line in shown[2:] if line[0] in "+-"] == ["-seed = 1", "+seed = 2"]
    assert toml.diff(old, old, "x") == ""
