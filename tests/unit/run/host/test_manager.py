"""What can be given to `hpo.run`."""

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.run.host.manager import prepare
from hpo.run.host.session import RunOptions
from hpo.spec.study_spec import StudySpec
from hpo.store.db.opening import open_database
from hpo.store.studies import studies

SPEC = StudySpec(name="s", task="digits-mlp", budget={"trials": 2})


def test_overrides_that_are_none_of_a_study() -> None:
    with pytest.raises(SpecError) as caught:
        prepare(SPEC, overrides={"trails": 3, "zzz": 1, "epochs": 2})
    assert [(p.key, p.message) for p in caught.value.problems] == [
        ("trails", "unknown; did you mean trials?"),
        ("zzz", "unknown"),
    ]


@pytest.mark.parametrize("source", [3, {"name": "s"}])
def test_what_is_no_study(source: Any) -> None:
    with pytest.raises(
        SpecError, match=r"a study is a file, a name or a StudySpec; found (int|dict)"
    ):
        prepare(source)


@pytest.fixture
def churn(tmp_path: Path) -> Path:
    """A study file of a table that says no more than it must."""
    rows = "\n".join(f"{i % 7},{'yes' if i % 7 > 3 else 'no'}" for i in range(60))
    (tmp_path / "churn.csv").write_text(f"visits,churned\n{rows}\n")
    file = tmp_path / "churn.toml"
    file.write_text(
        'task = "tabular"\ntask_options = { data = "churn.csv", target = "churned" }\n'
        "[budget]\ntrials = 1\n"
    )
    return file


def test_a_task_says_what_its_study_leaves_open(churn: Path) -> None:
    spec = prepare(churn).spec
    assert (spec.metrics, spec.directions) == (("val_auroc",), ("maximize",))
    assert (spec.budget.epochs, spec.validation.folds) == (54, 5)
    assert "depth" in spec.space.names
    # What a person says stands, also where it is what other studies have anyway.
    assert prepare(churn, overrides={"epochs": 27}).spec.budget.epochs == 27
    churn.write_text(churn.read_text() + "epochs = 27\n[validation]\nval_fraction = 0.2\n")
    spec = prepare(churn).spec
    assert (spec.budget.epochs, spec.validation.folds) == (27, None)


def test_a_study_in_the_database_keeps_what_it_began_with(churn: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    # As it was before tables had folds and epochs of their own.
    old = StudySpec(
        name="churn",
        task="tabular",
        task_options={"data": "churn.csv", "target": "churned"},
        metric="val_auroc",
        space={"learning_rate": 0.1},
        budget={"trials": 1},
    )
    db = open_database(url, create=True)
    studies.create_or_join(db, old, str(tmp_path))
    db.dispose()
    found = prepare("churn", options=RunOptions(storage=url)).spec
    assert found == old
    assert (found.budget.epochs, found.validation.folds) == (27, None)
